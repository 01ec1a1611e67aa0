FRAME_TYPES: dict[str, int]
DATA_FLAGS: dict[str, int]

def frame_layouts() -> dict[str, dict[str, tuple[int, int]]]: ...
