# Frames of the wire protocol, as they lie in a datagram and in a term (little-endian, packed).
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint16_t

cdef enum:
    FRAME_ALIGNMENT = 32
    DATA_HEADER_LENGTH = 32
    FRAME_VERSION = 0

    # frame types
    TYPE_PAD = 0x00
    TYPE_DATA = 0x01
    TYPE_NAK = 0x02
    TYPE_SM = 0x03
    TYPE_ERR = 0x04
    TYPE_SETUP = 0x05
    TYPE_RTTM = 0x06
    TYPE_RES = 0x07
    TYPE_RSP_SETUP = 0x0B

    # flags of DATA and PAD
    FLAG_BEGIN = 0x80
    FLAG_END = 0x40
    FLAG_EOS = 0x20
    FLAG_REVOKED = 0x10
    FLAGS_UNFRAGMENTED = 0xC0
    # flags of SETUP, SM, ERR, RTTM
    SETUP_FLAG_SEND_RESPONSE = 0x80
    SETUP_FLAG_GROUP = 0x40
    SM_FLAG_SEND_SETUP = 0x80
    SM_FLAG_EOS = 0x40
    ERR_FLAG_GROUP_TAG = 0x08
    RTTM_FLAG_REPLY = 0x80

    SM_LENGTH = 36
    SM_LENGTH_WITH_GROUP_TAG = 44
    NAK_LENGTH = 28
    SETUP_LENGTH = 40
    ERR_HEADER_LENGTH = 40
    RTTM_LENGTH = 40
    RSP_SETUP_LENGTH = 20
    RES_HEADER_LENGTH = 8
    RES_ENTRY_LENGTH = 14
    RES_ENTRY6_LENGTH = 26
    RES_TYPE_IPV4 = 1
    RES_TYPE_IPV6 = 2
    RES_FLAG_SELF = 0x80
    MAX_ERROR_TEXT_LENGTH = 1023

    MAX_UDP_PAYLOAD_LENGTH = 65504
    MIN_TERM_LENGTH = 65536
    MAX_TERM_LENGTH = 1073741824

cdef packed struct FrameHeader:
    int32_t frame_length
    uint8_t version
    uint8_t flags
    uint16_t type

cdef packed struct DataHeader:
    int32_t frame_length
    uint8_t version
    uint8_t flags
    uint16_t type
    int32_t term_offset
    int32_t session_id
    int32_t stream_id
    int32_t term_id
    int64_t reserved_value

cdef packed struct SetupFrame:
    int32_t frame_length
    uint8_t version
    uint8_t flags
    uint16_t type
    int32_t term_offset
    int32_t session_id
    int32_t stream_id
    int32_t initial_term_id
    int32_t active_term_id
    int32_t term_length
    int32_t mtu
    int32_t ttl

cdef packed struct StatusMessage:
    int32_t frame_length
    uint8_t version
    uint8_t flags
    uint16_t type
    int32_t session_id
    int32_t stream_id
    int32_t consumption_term_id
    int32_t consumption_term_offset
    int32_t receiver_window
    int64_t receiver_id
    int64_t group_tag            # only when frame_length is 44

cdef packed struct NakFrame:
    int32_t frame_length
    uint8_t version
    uint8_t flags
    uint16_t type
    int32_t session_id
    int32_t stream_id
    int32_t term_id
    int32_t term_offset
    int32_t length

cdef packed struct ErrorFrame:
    int32_t frame_length
    uint8_t version
    uint8_t flags
    uint16_t type
    int32_t session_id
    int32_t stream_id
    int64_t receiver_id
    int64_t group_tag
    int32_t error_code
    int32_t error_length

cdef packed struct RttFrame:
    int32_t frame_length
    uint8_t version
    uint8_t flags
    uint16_t type
    int32_t session_id
    int32_t stream_id
    int64_t echo_timestamp
    int64_t reception_delta
    int64_t receiver_id

cdef packed struct ResponseSetupFrame:
    int32_t frame_length
    uint8_t version
    uint8_t flags
    uint16_t type
    int32_t session_id
    int32_t stream_id
    int32_t response_session_id

# Entries of a RES frame: behind its 8-byte header, each aligned to 8 bytes, the name behind the fixed part.
cdef packed struct ResolutionEntry:
    uint8_t res_type
    uint8_t res_flags
    uint16_t udp_port
    int32_t age_in_ms
    uint8_t address[4]             # network byte order
    int16_t name_length

cdef packed struct ResolutionEntry6:
    uint8_t res_type
    uint8_t res_flags
    uint16_t udp_port
    int32_t age_in_ms
    uint8_t address[16]            # network byte order
    int16_t name_length

cdef inline int64_t align_frame(int64_t length) noexcept nogil:
    return (length + 31) & ~(<int64_t> 31)
