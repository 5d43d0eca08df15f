"""What a pickle asks for, found without importing or calling anything that it names.

Python's own unpickler runs with a ``find_class`` that gives a stand-in for every global: creating, calling and building
a stand-in only records what would have been done. All that was made is looked at, not only what is left in the end:
a pickle can drop the result of a call. No torch.
"""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

# What ultralytics keeps in a classifier to prepare images with; none of it holds or calls a function.
TRANSFORMS = tuple(
    f"torchvision.transforms.transforms.{name}" for name in ("Compose", "Resize", "CenterCrop", "ToTensor", "Normalize")
)
INTERPOLATION = "torchvision.transforms.functional.InterpolationMode"
# Classes of networks: they may only be created empty and then filled, which is how torch.save writes a module.
CLASS_MODULES = (
    *("torch.nn.modules.", "ultralytics.nn.modules.", "ultralytics.nn.tasks.", "acmix_exp.nn."),
    *(
        "acmix_exp.yolo.model.",
        "acmix_exp.yolo.wrap.",
        "acmix_exp.yolo.slot_wrap.",
        "ultralytics.utils.loss.",
        "ultralytics.utils.tal.",
    ),
    *("torchvision.models.mobilenetv3.", "torchvision.ops.misc.", "torchvision.ops.stochastic_depth.", "timm.layers."),
    *TRANSFORMS,
)
# In classifiers and YOLO-World of ultralytics only. To be described, never to be read: `clip` could be any module.
OTHER_TASKS = ("torchvision.transforms.", "ultralytics.nn.text_model.", "clip.")
NAMESPACES = ("ultralytics.utils.IterableSimpleNamespace", "ultralytics.yolo.utils.IterableSimpleNamespace")
CALLED = (
    *NAMESPACES,
    INTERPOLATION,
    *(f"torch._utils._rebuild_{name}" for name in ("tensor", "tensor_v2", "parameter")),
    *("torch.device", "torch.serialization._get_layout", "_codecs.encode", "numpy.dtype"),
    *("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar"),
    *(f"{module}.{name}" for module in ("pathlib", "pathlib._local") for name in ("PosixPath", "WindowsPath")),
)
# Plain data, which is really created, so that its content can be walked.
REAL: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": OrderedDict,
    "builtins.set": set,
    "builtins.frozenset": frozenset,
    "torch.Size": tuple,
}
DTYPES = {"float16", "float32", "float64", "bfloat16", "int8", "int16", "int32", "int64", "uint8", "bool"}
GETATTR = "builtins.getattr"
PYTHON_2 = {"__builtin__": "builtins", "copy_reg": "copyreg"}  # the names in a pickle of protocol 2


class _Recorder(type):
    """Metaclass of the stand-ins: calling one records the call."""

    path: str

    def __call__(cls, *args: Any, **options: Any) -> StandIn:
        made: StandIn = cls.__new__(cls, *args, **options)  # type: ignore[arg-type]
        made.__dict__["called"] = True
        return made


class StandIn(metaclass=_Recorder):
    """A stand-in for an object of the class, or for the result of the function, of the global ``path``.

    called: by the pickle; false: created by ``__new__``. args: of either. state: what it was then filled with.
    """

    path: str = ""
    seen: list[Any]  # of the class: all objects of a scan
    called: bool
    args: tuple[Any, ...]
    state: Any
    items: list[Any]

    def __new__(cls, *args: Any, **options: Any) -> StandIn:
        made = object.__new__(cls)
        made.__dict__.update(called=False, args=args, state=options, items=[])
        cls.seen.append(made)
        return made

    def __setstate__(self, state: Any) -> None:
        self.__dict__["state"] = state

    def append(self, item: Any) -> None:
        self.items.append(item)

    def extend(self, items: Any) -> None:
        self.items.extend(items)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items.append((key, value))

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute, or a submodule, of the module that this stands for."""
        state = self.state if isinstance(self.state, dict) else {}
        modules = state.get("_modules")
        return state.get(name, modules.get(name, default) if isinstance(modules, dict) else default)


@dataclass
class Scan:
    """root: the object, made of stand-ins and plain data; None if it could not be read to its end. names: the globals,
    as MODULE.NAME. made: every stand-in, and every name of a storage."""

    root: Any
    names: set[str] = field(default_factory=set)
    made: list[Any] = field(default_factory=list)

    def foreign(self, own: Collection[str] = ()) -> list[str]:
        """What is no part of a network's checkpoint: names, and classes or functions used in another way than such.

        ``own``: names that are allowed in every use, as those of a user-defined block.
        """
        unknown = [name for name in sorted(self.names) if not (_is_known(name) or name in own)]
        misused = _misused([self.root, *self.made], own)
        return [*unknown, *dict.fromkeys(use for use in misused if use.removesuffix("(...)") not in unknown)]


def scan(data: bytes, pickles: int = 1) -> Scan:
    """Read the first ``pickles`` of ``data``; the root is that of the last. Raises ValueError if it is damaged."""
    names: set[str] = set()
    made: list[Any] = []
    stand_ins: dict[str, Any] = {}
    stream = io.BytesIO(data)

    # Not the one in C, which takes the memory that a pickle names, whatever its length.
    class Reader(pickle._Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            path = f"{PYTHON_2.get(module, module)}.{name}"
            names.add(path)
            if path in REAL:
                return REAL[path]
            return stand_ins.setdefault(path, _Recorder(name, (StandIn,), {"path": path, "seen": made}))

        def persistent_load(self, pid: Any) -> Any:
            made.append(pid)
            return None  # a storage

    root = None
    try:
        for _ in range(pickles):
            root = Reader(stream, encoding="bytes").load()
    except Exception as error:  # a damaged pickle raises anything
        if not any(not _is_known(name) for name in names):
            raise ValueError(f"{type(error).__name__}: {' '.join(str(error).split())}") from error
    return Scan(root, names, made)


def _is_known(path: str) -> bool:
    name = path.rpartition(".")[2]
    is_class = path.startswith(CLASS_MODULES) and name != name.lower()
    return is_class or path in REAL or path in CALLED or path == GETATTR or _is_value(path)


def _is_value(path: str) -> bool:
    module, _, name = path.rpartition(".")
    return (module == "torch" and name in DTYPES) or (module in ("torch", "torch.storage") and name.endswith("Storage"))


def _misused(objects: list[Any], own: Collection[str]) -> Iterator[str]:
    """Known names in a use that no checkpoint has: a class that is called, or a class or function kept as a value,
    which the network could then call."""
    seen: set[int] = set()
    left = objects
    while left:
        value = left.pop()
        if isinstance(value, (str, bytes, int, float, bool, type(None))) or id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, type):
            path = getattr(value, "path", f"{value.__module__}.{value.__qualname__}")
            if not _is_value(path) and path not in own:
                yield path
        elif isinstance(value, StandIn):
            path = type(value).path
            if path not in own and (path not in CALLED if value.called else path in CALLED):
                if path != GETATTR or not _is_forward(value.args):
                    yield f"{path}(...)"
            elif value.args and not value.called and path.startswith(CLASS_MODULES):
                yield f"{path}(...)"
            if path != GETATTR:
                left += value.args
            left += [value.state, *value.items]
        elif isinstance(value, dict):
            # A pickle can give an OrderedDict attributes that hide its methods.
            left += [*dict.keys(value), *dict.values(value), getattr(value, "__dict__", None)]
        elif isinstance(value, (list, tuple, set, frozenset)):
            left += value


def _is_forward(args: tuple[Any, ...]) -> bool:
    """Whether ``getattr`` of these gives the forward pass of a module, which ultralytics keeps in some networks."""
    if len(args) != 2 or not isinstance(args[1], str):
        return False
    owner = args[0] if isinstance(args[0], type) else type(args[0])
    path = getattr(owner, "path", "")
    return path.startswith(CLASS_MODULES) and args[1].startswith("forward")
