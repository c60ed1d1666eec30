"""What ASE's entry point `ase.ioformats` loads: `vld`. ASE is imported only then."""

from typing import Any


def __getattr__(name: str) -> Any:
    if name != "vld":
        raise AttributeError(name)
    from ase.utils.plugins import ExternalIOFormat  # type: ignore[import-not-found,import-untyped,unused-ignore]

    return ExternalIOFormat(desc="vldepot depot of frames", code="+S", module="vldepot.ase", glob="*.vld")
