"""Names of a package that are imported when they are first asked for, so that a program pays for what it uses only."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any


def lazy(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a package.

    Python puts a module that was imported into its package, under its own name. Where the package has a public name
    that is the same (`chains.classify` in classify.py), that name stays.

    Args:
        package: its `__name__`.
        modules: for each public name, the module of the package that has it.
    """

    class Package(ModuleType):
        def __setattr__(self, name: str, value: Any) -> None:
            if not (name in modules and isinstance(value, ModuleType)):
                super().__setattr__(name, value)

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{modules[name]}"), name)

    sys.modules[package].__class__ = Package
    return get
