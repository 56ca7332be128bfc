"""Contracts of the network and of both teachers."""

from distillkit.testing import NetworkContract, TeacherScoreContract


class TestStranger(NetworkContract):
    use = "stranger"


class TestStrangersTeacher(TeacherScoreContract):
    use = "stranger"


class TestBareTeacher(TeacherScoreContract):
    use = "stranger-bare"
    recipe = {"generator": {"init": "scratch", "network": {"use": "mlp", "width": 16}}}
