# Layouts of the shared files: cnc.dat, the loss report, log buffers (little-endian, packed, sizes asserted in layouts.py).
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t

cdef enum:
    CNC_VERSION = 0x00000200           # 0.2.0
    CNC_METADATA_LENGTH = 128
    RING_TRAILER_LENGTH = 768
    BROADCAST_TRAILER_LENGTH = 128
    RECORD_HEADER_LENGTH = 8
    RECORD_ALIGNMENT = 8
    PADDING_TYPE_ID = -1

    COUNTER_UNUSED = 0
    COUNTER_ALLOCATED = 1
    COUNTER_RECLAIMED = -1
    MAX_KEY_LENGTH = 112
    MAX_LABEL_LENGTH = 380
    COUNTER_VALUE_LENGTH = 128
    COUNTER_METADATA_LENGTH = 512

    ERROR_HEADER_LENGTH = 24
    LOSS_ENTRY_HEADER_LENGTH = 44
    LOSS_ENTRY_ALIGNMENT = 64

    PARTITION_COUNT = 3
    LOG_METADATA_LENGTH = 4096
    LOG_TYPE_CONCURRENT = 0
    LOG_TYPE_EXCLUSIVE = 1
    LOG_TYPE_IMAGE = 2

cdef packed struct CncMetadata:
    int32_t cnc_version
    int32_t to_driver_buffer_length
    int32_t to_clients_buffer_length
    int32_t counter_metadata_buffer_length
    int32_t counter_values_buffer_length
    int32_t error_log_buffer_length
    int64_t client_liveness_timeout_ns
    int64_t start_timestamp_ms
    int64_t pid
    int32_t file_page_size
    uint8_t reserved[76]

cdef packed struct RecordHeader:
    int32_t length
    int32_t type

cdef packed struct RingTrailer:
    uint8_t padding_0[128]
    int64_t tail_position
    uint8_t padding_1[120]
    int64_t head_cache_position
    uint8_t padding_2[120]
    int64_t head_position
    uint8_t padding_3[120]
    int64_t correlation_counter
    uint8_t padding_4[120]
    int64_t consumer_heartbeat_ms
    uint8_t padding_5[120]

cdef packed struct BroadcastTrailer:
    int64_t tail_intent_counter
    int64_t tail_counter
    int64_t latest_counter
    uint8_t padding[104]

cdef packed struct CounterValue:
    int64_t value
    int64_t registration_id
    int64_t owner_id
    int64_t reference_id
    uint8_t padding[96]

cdef packed struct CounterMetadata:
    int32_t state
    int32_t type_id
    int64_t free_for_reuse_deadline_ms
    uint8_t key[112]
    int32_t label_length
    uint8_t label[380]

cdef packed struct ErrorEntry:
    int32_t length
    int32_t observation_count
    int64_t last_observation_ms
    int64_t first_observation_ms

cdef packed struct LossEntry:
    int64_t observation_count
    int64_t total_bytes_lost
    int64_t first_observation_ms
    int64_t last_observation_ms
    int32_t session_id
    int32_t stream_id
    int32_t channel_length

cdef packed struct LogMetadata:
    int64_t term_tail_counters[3]
    int32_t active_term_count
    uint8_t padding_0[100]
    int64_t end_of_stream_position     # 128
    int32_t is_connected
    int32_t active_transport_count
    uint8_t padding_1[112]
    int64_t correlation_id             # 256
    int32_t initial_term_id
    int32_t default_frame_header_length
    int32_t mtu_length
    int32_t term_length
    int32_t page_size
    int32_t publication_window_length
    int32_t receiver_window_length
    int32_t socket_sndbuf_length
    int32_t os_default_socket_sndbuf_length
    int32_t os_max_socket_sndbuf_length
    int32_t socket_rcvbuf_length
    int32_t os_default_socket_rcvbuf_length
    int32_t os_max_socket_rcvbuf_length
    int32_t max_resend
    uint8_t default_header[128]        # 320
    int64_t entity_tag                 # 448
    int64_t response_correlation_id
    int64_t linger_timeout_ns
    int64_t untethered_window_limit_timeout_ns
    int64_t untethered_resting_timeout_ns
    uint8_t group                      # 488
    uint8_t is_response
    uint8_t rejoin
    uint8_t reliable
    uint8_t sparse
    uint8_t signal_eos
    uint8_t spies_simulate_connection
    uint8_t tether
    uint8_t is_publication_revoked
    uint8_t type
    uint8_t padding_2[2]
    int64_t untethered_linger_timeout_ns   # 500, not 8-byte aligned
    uint8_t padding_3[3588]
