"""The whole test of a method."""

from distillkit.testing import GeneratorLossContract


class TestToyDiffInstruct(GeneratorLossContract):
    use = "toy-diff-instruct"
