FRAME_TYPES: dict[str, int]
DATA_FLAGS: dict[str, int]
