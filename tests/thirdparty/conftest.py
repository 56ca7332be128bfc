"""These are other people's packages: tests/test_thirdparty.py installs them and runs their tests as they would."""

collect_ignore_glob = ["*"]
