"""`python -m distillkit`."""

from distillkit.cli.main import main

raise SystemExit(main())
