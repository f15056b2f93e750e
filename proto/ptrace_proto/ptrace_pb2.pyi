from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EventSource(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EVENT_SOURCE_TRACEPOINT: _ClassVar[EventSource]
    EVENT_SOURCE_PROBE: _ClassVar[EventSource]
    EVENT_SOURCE_SAMPLE: _ClassVar[EventSource]

class FieldKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FIELD_KIND_UNSPECIFIED: _ClassVar[FieldKind]
    FIELD_KIND_SIGNED: _ClassVar[FieldKind]
    FIELD_KIND_UNSIGNED: _ClassVar[FieldKind]
    FIELD_KIND_POINTER: _ClassVar[FieldKind]
    FIELD_KIND_BOOL: _ClassVar[FieldKind]
    FIELD_KIND_CHAR_ARRAY: _ClassVar[FieldKind]
    FIELD_KIND_BYTES: _ClassVar[FieldKind]
    FIELD_KIND_DYNAMIC_STRING: _ClassVar[FieldKind]
    FIELD_KIND_DYNAMIC_BYTES: _ClassVar[FieldKind]
    FIELD_KIND_STACK: _ClassVar[FieldKind]
    FIELD_KIND_READ: _ClassVar[FieldKind]
    FIELD_KIND_REGS: _ClassVar[FieldKind]

class LossStage(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LOSS_STAGE_UNSPECIFIED: _ClassVar[LossStage]
    LOSS_STAGE_KERNEL_BUFFER: _ClassVar[LossStage]
    LOSS_STAGE_QUEUE: _ClassVar[LossStage]
    LOSS_STAGE_SKIPPED: _ClassVar[LossStage]
    LOSS_STAGE_THROTTLED: _ClassVar[LossStage]

class EndReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    END_REASON_UNSPECIFIED: _ClassVar[EndReason]
    END_REASON_STOPPED: _ClassVar[EndReason]
    END_REASON_TARGETS_GONE: _ClassVar[EndReason]
    END_REASON_SHUTDOWN: _ClassVar[EndReason]
    END_REASON_FAILED: _ClassVar[EndReason]
    END_REASON_KILLED: _ClassVar[EndReason]
    END_REASON_OVER_BUDGET: _ClassVar[EndReason]
    END_REASON_NOT_ALLOWED: _ClassVar[EndReason]
EVENT_SOURCE_TRACEPOINT: EventSource
EVENT_SOURCE_PROBE: EventSource
EVENT_SOURCE_SAMPLE: EventSource
FIELD_KIND_UNSPECIFIED: FieldKind
FIELD_KIND_SIGNED: FieldKind
FIELD_KIND_UNSIGNED: FieldKind
FIELD_KIND_POINTER: FieldKind
FIELD_KIND_BOOL: FieldKind
FIELD_KIND_CHAR_ARRAY: FieldKind
FIELD_KIND_BYTES: FieldKind
FIELD_KIND_DYNAMIC_STRING: FieldKind
FIELD_KIND_DYNAMIC_BYTES: FieldKind
FIELD_KIND_STACK: FieldKind
FIELD_KIND_READ: FieldKind
FIELD_KIND_REGS: FieldKind
LOSS_STAGE_UNSPECIFIED: LossStage
LOSS_STAGE_KERNEL_BUFFER: LossStage
LOSS_STAGE_QUEUE: LossStage
LOSS_STAGE_SKIPPED: LossStage
LOSS_STAGE_THROTTLED: LossStage
END_REASON_UNSPECIFIED: EndReason
END_REASON_STOPPED: EndReason
END_REASON_TARGETS_GONE: EndReason
END_REASON_SHUTDOWN: EndReason
END_REASON_FAILED: EndReason
END_REASON_KILLED: EndReason
END_REASON_OVER_BUDGET: EndReason
END_REASON_NOT_ALLOWED: EndReason

class GetServerInfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ServerInfo(_message.Message):
    __slots__ = ("version", "api_minor", "kernel_release", "machine", "hostname", "features", "limits", "caller", "online_cpus", "monotonic_time", "realtime_offset", "boot_id")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    API_MINOR_FIELD_NUMBER: _ClassVar[int]
    KERNEL_RELEASE_FIELD_NUMBER: _ClassVar[int]
    MACHINE_FIELD_NUMBER: _ClassVar[int]
    HOSTNAME_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    CALLER_FIELD_NUMBER: _ClassVar[int]
    ONLINE_CPUS_FIELD_NUMBER: _ClassVar[int]
    MONOTONIC_TIME_FIELD_NUMBER: _ClassVar[int]
    REALTIME_OFFSET_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    version: str
    api_minor: int
    kernel_release: str
    machine: str
    hostname: str
    features: _containers.RepeatedScalarFieldContainer[str]
    limits: Limits
    caller: Caller
    online_cpus: _containers.RepeatedScalarFieldContainer[int]
    monotonic_time: int
    realtime_offset: int
    boot_id: str
    def __init__(self, version: _Optional[str] = ..., api_minor: _Optional[int] = ..., kernel_release: _Optional[str] = ..., machine: _Optional[str] = ..., hostname: _Optional[str] = ..., features: _Optional[_Iterable[str]] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., caller: _Optional[_Union[Caller, _Mapping]] = ..., online_cpus: _Optional[_Iterable[int]] = ..., monotonic_time: _Optional[int] = ..., realtime_offset: _Optional[int] = ..., boot_id: _Optional[str] = ...) -> None: ...

class Limits(_message.Message):
    __slots__ = ("sessions", "events_per_session", "queue_bytes", "buffer_pages", "filter_bytes")
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    EVENTS_PER_SESSION_FIELD_NUMBER: _ClassVar[int]
    QUEUE_BYTES_FIELD_NUMBER: _ClassVar[int]
    BUFFER_PAGES_FIELD_NUMBER: _ClassVar[int]
    FILTER_BYTES_FIELD_NUMBER: _ClassVar[int]
    sessions: int
    events_per_session: int
    queue_bytes: int
    buffer_pages: int
    filter_bytes: int
    def __init__(self, sessions: _Optional[int] = ..., events_per_session: _Optional[int] = ..., queue_bytes: _Optional[int] = ..., buffer_pages: _Optional[int] = ..., filter_bytes: _Optional[int] = ...) -> None: ...

class Caller(_message.Message):
    __slots__ = ("known", "uid", "gid", "pid", "user", "via", "address", "certificate", "groups")
    KNOWN_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    GID_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    VIA_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    known: bool
    uid: int
    gid: int
    pid: int
    user: str
    via: str
    address: str
    certificate: str
    groups: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, known: _Optional[bool] = ..., uid: _Optional[int] = ..., gid: _Optional[int] = ..., pid: _Optional[int] = ..., user: _Optional[str] = ..., via: _Optional[str] = ..., address: _Optional[str] = ..., certificate: _Optional[str] = ..., groups: _Optional[_Iterable[str]] = ...) -> None: ...

class WhoAmIRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class WhoAmIResponse(_message.Message):
    __slots__ = ("caller", "rules", "quotas", "admin", "used")
    CALLER_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    QUOTAS_FIELD_NUMBER: _ClassVar[int]
    ADMIN_FIELD_NUMBER: _ClassVar[int]
    USED_FIELD_NUMBER: _ClassVar[int]
    caller: Caller
    rules: _containers.RepeatedCompositeFieldContainer[PolicyRule]
    quotas: Quotas
    admin: bool
    used: Quotas
    def __init__(self, caller: _Optional[_Union[Caller, _Mapping]] = ..., rules: _Optional[_Iterable[_Union[PolicyRule, _Mapping]]] = ..., quotas: _Optional[_Union[Quotas, _Mapping]] = ..., admin: _Optional[bool] = ..., used: _Optional[_Union[Quotas, _Mapping]] = ...) -> None: ...

class PolicyRule(_message.Message):
    __slots__ = ("name", "place", "events", "scope", "uprobes", "stacks", "kernel_addresses", "remote")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PLACE_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    UPROBES_FIELD_NUMBER: _ClassVar[int]
    STACKS_FIELD_NUMBER: _ClassVar[int]
    KERNEL_ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    REMOTE_FIELD_NUMBER: _ClassVar[int]
    name: str
    place: str
    events: _containers.RepeatedScalarFieldContainer[str]
    scope: str
    uprobes: str
    stacks: str
    kernel_addresses: bool
    remote: bool
    def __init__(self, name: _Optional[str] = ..., place: _Optional[str] = ..., events: _Optional[_Iterable[str]] = ..., scope: _Optional[str] = ..., uprobes: _Optional[str] = ..., stacks: _Optional[str] = ..., kernel_addresses: _Optional[bool] = ..., remote: _Optional[bool] = ...) -> None: ...

class Quotas(_message.Message):
    __slots__ = ("sessions", "programs", "probes", "buffer_bytes", "events_per_second", "bytes_per_second", "stack_depth", "stacks_per_second", "compile_ms", "cpu_percent")
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    PROGRAMS_FIELD_NUMBER: _ClassVar[int]
    PROBES_FIELD_NUMBER: _ClassVar[int]
    BUFFER_BYTES_FIELD_NUMBER: _ClassVar[int]
    EVENTS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    BYTES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    STACK_DEPTH_FIELD_NUMBER: _ClassVar[int]
    STACKS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    COMPILE_MS_FIELD_NUMBER: _ClassVar[int]
    CPU_PERCENT_FIELD_NUMBER: _ClassVar[int]
    sessions: int
    programs: int
    probes: int
    buffer_bytes: int
    events_per_second: int
    bytes_per_second: int
    stack_depth: int
    stacks_per_second: int
    compile_ms: int
    cpu_percent: int
    def __init__(self, sessions: _Optional[int] = ..., programs: _Optional[int] = ..., probes: _Optional[int] = ..., buffer_bytes: _Optional[int] = ..., events_per_second: _Optional[int] = ..., bytes_per_second: _Optional[int] = ..., stack_depth: _Optional[int] = ..., stacks_per_second: _Optional[int] = ..., compile_ms: _Optional[int] = ..., cpu_percent: _Optional[int] = ...) -> None: ...

class KillSessionRequest(_message.Message):
    __slots__ = ("session_id",)
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    def __init__(self, session_id: _Optional[str] = ...) -> None: ...

class KillSessionResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListEventsRequest(_message.Message):
    __slots__ = ("globs",)
    GLOBS_FIELD_NUMBER: _ClassVar[int]
    globs: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, globs: _Optional[_Iterable[str]] = ...) -> None: ...

class ListEventsResponse(_message.Message):
    __slots__ = ("names",)
    NAMES_FIELD_NUMBER: _ClassVar[int]
    names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, names: _Optional[_Iterable[str]] = ...) -> None: ...

class DescribeEventsRequest(_message.Message):
    __slots__ = ("selectors", "stacks", "scope")
    SELECTORS_FIELD_NUMBER: _ClassVar[int]
    STACKS_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    selectors: _containers.RepeatedScalarFieldContainer[str]
    stacks: Stacks
    scope: Scope
    def __init__(self, selectors: _Optional[_Iterable[str]] = ..., stacks: _Optional[_Union[Stacks, _Mapping]] = ..., scope: _Optional[_Union[Scope, _Mapping]] = ...) -> None: ...

class DescribeEventsResponse(_message.Message):
    __slots__ = ("schemas",)
    SCHEMAS_FIELD_NUMBER: _ClassVar[int]
    schemas: _containers.RepeatedCompositeFieldContainer[EventSchema]
    def __init__(self, schemas: _Optional[_Iterable[_Union[EventSchema, _Mapping]]] = ...) -> None: ...

class EventSchema(_message.Message):
    __slots__ = ("id", "system", "name", "alias", "common_type", "fields", "row_size", "has_dynamic", "all_fields", "print_format", "print_fmt", "selector", "stack", "source", "sample", "format_text")
    ID_FIELD_NUMBER: _ClassVar[int]
    SYSTEM_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    COMMON_TYPE_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    ROW_SIZE_FIELD_NUMBER: _ClassVar[int]
    HAS_DYNAMIC_FIELD_NUMBER: _ClassVar[int]
    ALL_FIELDS_FIELD_NUMBER: _ClassVar[int]
    PRINT_FORMAT_FIELD_NUMBER: _ClassVar[int]
    PRINT_FMT_FIELD_NUMBER: _ClassVar[int]
    SELECTOR_FIELD_NUMBER: _ClassVar[int]
    STACK_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_FIELD_NUMBER: _ClassVar[int]
    FORMAT_TEXT_FIELD_NUMBER: _ClassVar[int]
    id: int
    system: str
    name: str
    alias: str
    common_type: int
    fields: _containers.RepeatedCompositeFieldContainer[Field]
    row_size: int
    has_dynamic: bool
    all_fields: _containers.RepeatedCompositeFieldContainer[FieldInfo]
    print_format: PrintFormat
    print_fmt: str
    selector: int
    stack: bool
    source: EventSource
    sample: SampleInfo
    format_text: str
    def __init__(self, id: _Optional[int] = ..., system: _Optional[str] = ..., name: _Optional[str] = ..., alias: _Optional[str] = ..., common_type: _Optional[int] = ..., fields: _Optional[_Iterable[_Union[Field, _Mapping]]] = ..., row_size: _Optional[int] = ..., has_dynamic: _Optional[bool] = ..., all_fields: _Optional[_Iterable[_Union[FieldInfo, _Mapping]]] = ..., print_format: _Optional[_Union[PrintFormat, _Mapping]] = ..., print_fmt: _Optional[str] = ..., selector: _Optional[int] = ..., stack: _Optional[bool] = ..., source: _Optional[_Union[EventSource, str]] = ..., sample: _Optional[_Union[SampleInfo, _Mapping]] = ..., format_text: _Optional[str] = ...) -> None: ...

class SampleInfo(_message.Message):
    __slots__ = ("counter", "read_format", "regs_user", "regs_intr", "type", "config", "config1", "config2", "bp_type", "period", "frequency", "flags")
    COUNTER_FIELD_NUMBER: _ClassVar[int]
    READ_FORMAT_FIELD_NUMBER: _ClassVar[int]
    REGS_USER_FIELD_NUMBER: _ClassVar[int]
    REGS_INTR_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    CONFIG1_FIELD_NUMBER: _ClassVar[int]
    CONFIG2_FIELD_NUMBER: _ClassVar[int]
    BP_TYPE_FIELD_NUMBER: _ClassVar[int]
    PERIOD_FIELD_NUMBER: _ClassVar[int]
    FREQUENCY_FIELD_NUMBER: _ClassVar[int]
    FLAGS_FIELD_NUMBER: _ClassVar[int]
    counter: str
    read_format: int
    regs_user: _containers.RepeatedScalarFieldContainer[str]
    regs_intr: _containers.RepeatedScalarFieldContainer[str]
    type: int
    config: int
    config1: int
    config2: int
    bp_type: int
    period: int
    frequency: int
    flags: int
    def __init__(self, counter: _Optional[str] = ..., read_format: _Optional[int] = ..., regs_user: _Optional[_Iterable[str]] = ..., regs_intr: _Optional[_Iterable[str]] = ..., type: _Optional[int] = ..., config: _Optional[int] = ..., config1: _Optional[int] = ..., config2: _Optional[int] = ..., bp_type: _Optional[int] = ..., period: _Optional[int] = ..., frequency: _Optional[int] = ..., flags: _Optional[int] = ...) -> None: ...

class Field(_message.Message):
    __slots__ = ("name", "kind", "offset", "size", "blank", "no_kernel_addresses")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    BLANK_FIELD_NUMBER: _ClassVar[int]
    NO_KERNEL_ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    name: str
    kind: FieldKind
    offset: int
    size: int
    blank: bool
    no_kernel_addresses: bool
    def __init__(self, name: _Optional[str] = ..., kind: _Optional[_Union[FieldKind, str]] = ..., offset: _Optional[int] = ..., size: _Optional[int] = ..., blank: _Optional[bool] = ..., no_kernel_addresses: _Optional[bool] = ...) -> None: ...

class FieldInfo(_message.Message):
    __slots__ = ("name", "type", "kind", "size", "element_size", "element_signed", "named_values", "on_request")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    ELEMENT_SIZE_FIELD_NUMBER: _ClassVar[int]
    ELEMENT_SIGNED_FIELD_NUMBER: _ClassVar[int]
    NAMED_VALUES_FIELD_NUMBER: _ClassVar[int]
    ON_REQUEST_FIELD_NUMBER: _ClassVar[int]
    name: str
    type: str
    kind: FieldKind
    size: int
    element_size: int
    element_signed: bool
    named_values: NamedValues
    on_request: bool
    def __init__(self, name: _Optional[str] = ..., type: _Optional[str] = ..., kind: _Optional[_Union[FieldKind, str]] = ..., size: _Optional[int] = ..., element_size: _Optional[int] = ..., element_signed: _Optional[bool] = ..., named_values: _Optional[_Union[NamedValues, _Mapping]] = ..., on_request: _Optional[bool] = ...) -> None: ...

class NamedValues(_message.Message):
    __slots__ = ("flags", "delimiter", "values")
    FLAGS_FIELD_NUMBER: _ClassVar[int]
    DELIMITER_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    flags: bool
    delimiter: str
    values: _containers.RepeatedCompositeFieldContainer[NamedValue]
    def __init__(self, flags: _Optional[bool] = ..., delimiter: _Optional[str] = ..., values: _Optional[_Iterable[_Union[NamedValue, _Mapping]]] = ...) -> None: ...

class NamedValue(_message.Message):
    __slots__ = ("value", "name")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    value: int
    name: str
    def __init__(self, value: _Optional[int] = ..., name: _Optional[str] = ...) -> None: ...

class PrintFormat(_message.Message):
    __slots__ = ("format", "arguments")
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    format: str
    arguments: _containers.RepeatedCompositeFieldContainer[Expression]
    def __init__(self, format: _Optional[str] = ..., arguments: _Optional[_Iterable[_Union[Expression, _Mapping]]] = ...) -> None: ...

class Expression(_message.Message):
    __slots__ = ("number", "text", "field", "call", "named")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    CALL_FIELD_NUMBER: _ClassVar[int]
    NAMED_FIELD_NUMBER: _ClassVar[int]
    number: int
    text: str
    field: str
    call: Call
    named: Named
    def __init__(self, number: _Optional[int] = ..., text: _Optional[str] = ..., field: _Optional[str] = ..., call: _Optional[_Union[Call, _Mapping]] = ..., named: _Optional[_Union[Named, _Mapping]] = ...) -> None: ...

class Call(_message.Message):
    __slots__ = ("name", "arguments")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    name: str
    arguments: _containers.RepeatedCompositeFieldContainer[Expression]
    def __init__(self, name: _Optional[str] = ..., arguments: _Optional[_Iterable[_Union[Expression, _Mapping]]] = ...) -> None: ...

class Named(_message.Message):
    __slots__ = ("value", "names")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    value: Expression
    names: NamedValues
    def __init__(self, value: _Optional[_Union[Expression, _Mapping]] = ..., names: _Optional[_Union[NamedValues, _Mapping]] = ...) -> None: ...

class TraceRequest(_message.Message):
    __slots__ = ("selectors", "projections", "scope", "buffer_pages", "watermark_percent", "wake_every_event", "mark_interval", "self_describing", "print_formats", "stacks", "label", "format_texts", "task_records")
    SELECTORS_FIELD_NUMBER: _ClassVar[int]
    PROJECTIONS_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    BUFFER_PAGES_FIELD_NUMBER: _ClassVar[int]
    WATERMARK_PERCENT_FIELD_NUMBER: _ClassVar[int]
    WAKE_EVERY_EVENT_FIELD_NUMBER: _ClassVar[int]
    MARK_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    SELF_DESCRIBING_FIELD_NUMBER: _ClassVar[int]
    PRINT_FORMATS_FIELD_NUMBER: _ClassVar[int]
    STACKS_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    FORMAT_TEXTS_FIELD_NUMBER: _ClassVar[int]
    TASK_RECORDS_FIELD_NUMBER: _ClassVar[int]
    selectors: _containers.RepeatedScalarFieldContainer[str]
    projections: _containers.RepeatedCompositeFieldContainer[Projection]
    scope: Scope
    buffer_pages: int
    watermark_percent: int
    wake_every_event: bool
    mark_interval: int
    self_describing: bool
    print_formats: bool
    stacks: Stacks
    label: str
    format_texts: bool
    task_records: bool
    def __init__(self, selectors: _Optional[_Iterable[str]] = ..., projections: _Optional[_Iterable[_Union[Projection, _Mapping]]] = ..., scope: _Optional[_Union[Scope, _Mapping]] = ..., buffer_pages: _Optional[int] = ..., watermark_percent: _Optional[int] = ..., wake_every_event: _Optional[bool] = ..., mark_interval: _Optional[int] = ..., self_describing: _Optional[bool] = ..., print_formats: _Optional[bool] = ..., stacks: _Optional[_Union[Stacks, _Mapping]] = ..., label: _Optional[str] = ..., format_texts: _Optional[bool] = ..., task_records: _Optional[bool] = ...) -> None: ...

class Projection(_message.Message):
    __slots__ = ("event", "fields", "all_fields")
    EVENT_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    ALL_FIELDS_FIELD_NUMBER: _ClassVar[int]
    event: str
    fields: _containers.RepeatedScalarFieldContainer[str]
    all_fields: bool
    def __init__(self, event: _Optional[str] = ..., fields: _Optional[_Iterable[str]] = ..., all_fields: _Optional[bool] = ...) -> None: ...

class Scope(_message.Message):
    __slots__ = ("cpus", "pids", "tids", "cgroups")
    CPUS_FIELD_NUMBER: _ClassVar[int]
    PIDS_FIELD_NUMBER: _ClassVar[int]
    TIDS_FIELD_NUMBER: _ClassVar[int]
    CGROUPS_FIELD_NUMBER: _ClassVar[int]
    cpus: str
    pids: _containers.RepeatedScalarFieldContainer[int]
    tids: _containers.RepeatedScalarFieldContainer[int]
    cgroups: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, cpus: _Optional[str] = ..., pids: _Optional[_Iterable[int]] = ..., tids: _Optional[_Iterable[int]] = ..., cgroups: _Optional[_Iterable[str]] = ...) -> None: ...

class Stacks(_message.Message):
    __slots__ = ("kernel", "user", "max_depth", "python", "no_kernel", "no_user")
    KERNEL_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    MAX_DEPTH_FIELD_NUMBER: _ClassVar[int]
    PYTHON_FIELD_NUMBER: _ClassVar[int]
    NO_KERNEL_FIELD_NUMBER: _ClassVar[int]
    NO_USER_FIELD_NUMBER: _ClassVar[int]
    kernel: bool
    user: bool
    max_depth: int
    python: bool
    no_kernel: bool
    no_user: bool
    def __init__(self, kernel: _Optional[bool] = ..., user: _Optional[bool] = ..., max_depth: _Optional[int] = ..., python: _Optional[bool] = ..., no_kernel: _Optional[bool] = ..., no_user: _Optional[bool] = ...) -> None: ...

class TraceResponse(_message.Message):
    __slots__ = ("started", "losses", "warnings", "stacks", "batches", "samples", "mark", "end", "forget_stacks_below", "throttles", "tasks")
    STARTED_FIELD_NUMBER: _ClassVar[int]
    LOSSES_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    STACKS_FIELD_NUMBER: _ClassVar[int]
    BATCHES_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    MARK_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    FORGET_STACKS_BELOW_FIELD_NUMBER: _ClassVar[int]
    THROTTLES_FIELD_NUMBER: _ClassVar[int]
    TASKS_FIELD_NUMBER: _ClassVar[int]
    started: Started
    losses: _containers.RepeatedCompositeFieldContainer[Loss]
    warnings: _containers.RepeatedCompositeFieldContainer[Warning]
    stacks: _containers.RepeatedCompositeFieldContainer[Stack]
    batches: _containers.RepeatedCompositeFieldContainer[Batch]
    samples: _containers.RepeatedCompositeFieldContainer[Sample]
    mark: RoundMark
    end: End
    forget_stacks_below: int
    throttles: _containers.RepeatedCompositeFieldContainer[Throttle]
    tasks: _containers.RepeatedCompositeFieldContainer[TaskRecord]
    def __init__(self, started: _Optional[_Union[Started, _Mapping]] = ..., losses: _Optional[_Iterable[_Union[Loss, _Mapping]]] = ..., warnings: _Optional[_Iterable[_Union[Warning, _Mapping]]] = ..., stacks: _Optional[_Iterable[_Union[Stack, _Mapping]]] = ..., batches: _Optional[_Iterable[_Union[Batch, _Mapping]]] = ..., samples: _Optional[_Iterable[_Union[Sample, _Mapping]]] = ..., mark: _Optional[_Union[RoundMark, _Mapping]] = ..., end: _Optional[_Union[End, _Mapping]] = ..., forget_stacks_below: _Optional[int] = ..., throttles: _Optional[_Iterable[_Union[Throttle, _Mapping]]] = ..., tasks: _Optional[_Iterable[_Union[TaskRecord, _Mapping]]] = ...) -> None: ...

class TaskRecord(_message.Message):
    __slots__ = ("time", "pid", "tid", "name", "start", "end", "mapping", "lost")
    TIME_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    TID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    MAPPING_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    time: int
    pid: int
    tid: int
    name: TaskName
    start: TaskStart
    end: TaskEnd
    mapping: TaskMapping
    lost: int
    def __init__(self, time: _Optional[int] = ..., pid: _Optional[int] = ..., tid: _Optional[int] = ..., name: _Optional[_Union[TaskName, _Mapping]] = ..., start: _Optional[_Union[TaskStart, _Mapping]] = ..., end: _Optional[_Union[TaskEnd, _Mapping]] = ..., mapping: _Optional[_Union[TaskMapping, _Mapping]] = ..., lost: _Optional[int] = ...) -> None: ...

class TaskName(_message.Message):
    __slots__ = ("name", "is_exec")
    NAME_FIELD_NUMBER: _ClassVar[int]
    IS_EXEC_FIELD_NUMBER: _ClassVar[int]
    name: bytes
    is_exec: bool
    def __init__(self, name: _Optional[bytes] = ..., is_exec: _Optional[bool] = ...) -> None: ...

class TaskStart(_message.Message):
    __slots__ = ("parent_pid", "parent_tid")
    PARENT_PID_FIELD_NUMBER: _ClassVar[int]
    PARENT_TID_FIELD_NUMBER: _ClassVar[int]
    parent_pid: int
    parent_tid: int
    def __init__(self, parent_pid: _Optional[int] = ..., parent_tid: _Optional[int] = ...) -> None: ...

class TaskEnd(_message.Message):
    __slots__ = ("parent_pid", "parent_tid")
    PARENT_PID_FIELD_NUMBER: _ClassVar[int]
    PARENT_TID_FIELD_NUMBER: _ClassVar[int]
    parent_pid: int
    parent_tid: int
    def __init__(self, parent_pid: _Optional[int] = ..., parent_tid: _Optional[int] = ...) -> None: ...

class TaskMapping(_message.Message):
    __slots__ = ("start", "length", "offset", "path", "major", "minor", "inode")
    START_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    MAJOR_FIELD_NUMBER: _ClassVar[int]
    MINOR_FIELD_NUMBER: _ClassVar[int]
    INODE_FIELD_NUMBER: _ClassVar[int]
    start: int
    length: int
    offset: int
    path: bytes
    major: int
    minor: int
    inode: int
    def __init__(self, start: _Optional[int] = ..., length: _Optional[int] = ..., offset: _Optional[int] = ..., path: _Optional[bytes] = ..., major: _Optional[int] = ..., minor: _Optional[int] = ..., inode: _Optional[int] = ...) -> None: ...

class Started(_message.Message):
    __slots__ = ("session_id", "schemas", "realtime_offset", "start_time", "recorded_host")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    SCHEMAS_FIELD_NUMBER: _ClassVar[int]
    REALTIME_OFFSET_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    RECORDED_HOST_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    schemas: _containers.RepeatedCompositeFieldContainer[EventSchema]
    realtime_offset: int
    start_time: int
    recorded_host: RecordedHost
    def __init__(self, session_id: _Optional[str] = ..., schemas: _Optional[_Iterable[_Union[EventSchema, _Mapping]]] = ..., realtime_offset: _Optional[int] = ..., start_time: _Optional[int] = ..., recorded_host: _Optional[_Union[RecordedHost, _Mapping]] = ...) -> None: ...

class RecordedHost(_message.Message):
    __slots__ = ("header_page", "header_event", "page_size", "total_memory", "cpu_description", "kernel_build_id", "kernel_start", "kernel_end", "cpus_online", "cpus_available", "printk_formats")
    HEADER_PAGE_FIELD_NUMBER: _ClassVar[int]
    HEADER_EVENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    TOTAL_MEMORY_FIELD_NUMBER: _ClassVar[int]
    CPU_DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    KERNEL_BUILD_ID_FIELD_NUMBER: _ClassVar[int]
    KERNEL_START_FIELD_NUMBER: _ClassVar[int]
    KERNEL_END_FIELD_NUMBER: _ClassVar[int]
    CPUS_ONLINE_FIELD_NUMBER: _ClassVar[int]
    CPUS_AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    PRINTK_FORMATS_FIELD_NUMBER: _ClassVar[int]
    header_page: str
    header_event: str
    page_size: int
    total_memory: int
    cpu_description: str
    kernel_build_id: bytes
    kernel_start: int
    kernel_end: int
    cpus_online: int
    cpus_available: int
    printk_formats: bytes
    def __init__(self, header_page: _Optional[str] = ..., header_event: _Optional[str] = ..., page_size: _Optional[int] = ..., total_memory: _Optional[int] = ..., cpu_description: _Optional[str] = ..., kernel_build_id: _Optional[bytes] = ..., kernel_start: _Optional[int] = ..., kernel_end: _Optional[int] = ..., cpus_online: _Optional[int] = ..., cpus_available: _Optional[int] = ..., printk_formats: _Optional[bytes] = ...) -> None: ...

class Batch(_message.Message):
    __slots__ = ("schema_id", "cpu", "count", "rows")
    SCHEMA_ID_FIELD_NUMBER: _ClassVar[int]
    CPU_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    schema_id: int
    cpu: int
    count: int
    rows: bytes
    def __init__(self, schema_id: _Optional[int] = ..., cpu: _Optional[int] = ..., count: _Optional[int] = ..., rows: _Optional[bytes] = ...) -> None: ...

class RoundMark(_message.Message):
    __slots__ = ("time",)
    TIME_FIELD_NUMBER: _ClassVar[int]
    time: int
    def __init__(self, time: _Optional[int] = ...) -> None: ...

class Loss(_message.Message):
    __slots__ = ("schema_id", "cpu", "count", "stage", "start_time", "end_time")
    SCHEMA_ID_FIELD_NUMBER: _ClassVar[int]
    CPU_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    schema_id: int
    cpu: int
    count: int
    stage: LossStage
    start_time: int
    end_time: int
    def __init__(self, schema_id: _Optional[int] = ..., cpu: _Optional[int] = ..., count: _Optional[int] = ..., stage: _Optional[_Union[LossStage, str]] = ..., start_time: _Optional[int] = ..., end_time: _Optional[int] = ...) -> None: ...

class Throttle(_message.Message):
    __slots__ = ("started", "time", "reason")
    STARTED_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    started: bool
    time: int
    reason: str
    def __init__(self, started: _Optional[bool] = ..., time: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class Warning(_message.Message):
    __slots__ = ("text",)
    TEXT_FIELD_NUMBER: _ClassVar[int]
    text: str
    def __init__(self, text: _Optional[str] = ...) -> None: ...

class Stack(_message.Message):
    __slots__ = ("id", "frames")
    ID_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    id: int
    frames: _containers.RepeatedCompositeFieldContainer[Frame]
    def __init__(self, id: _Optional[int] = ..., frames: _Optional[_Iterable[_Union[Frame, _Mapping]]] = ...) -> None: ...

class Frame(_message.Message):
    __slots__ = ("address", "symbol", "offset", "kernel", "dso")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    SYMBOL_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    KERNEL_FIELD_NUMBER: _ClassVar[int]
    DSO_FIELD_NUMBER: _ClassVar[int]
    address: int
    symbol: str
    offset: int
    kernel: bool
    dso: str
    def __init__(self, address: _Optional[int] = ..., symbol: _Optional[str] = ..., offset: _Optional[int] = ..., kernel: _Optional[bool] = ..., dso: _Optional[str] = ...) -> None: ...

class Sample(_message.Message):
    __slots__ = ("event", "time", "cpu", "fields")
    EVENT_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    CPU_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    event: str
    time: int
    cpu: int
    fields: _containers.RepeatedCompositeFieldContainer[SampleField]
    def __init__(self, event: _Optional[str] = ..., time: _Optional[int] = ..., cpu: _Optional[int] = ..., fields: _Optional[_Iterable[_Union[SampleField, _Mapping]]] = ...) -> None: ...

class SampleField(_message.Message):
    __slots__ = ("name", "signed", "unsigned", "text", "data", "truth")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SIGNED_FIELD_NUMBER: _ClassVar[int]
    UNSIGNED_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    TRUTH_FIELD_NUMBER: _ClassVar[int]
    name: str
    signed: int
    unsigned: int
    text: str
    data: bytes
    truth: bool
    def __init__(self, name: _Optional[str] = ..., signed: _Optional[int] = ..., unsigned: _Optional[int] = ..., text: _Optional[str] = ..., data: _Optional[bytes] = ..., truth: _Optional[bool] = ...) -> None: ...

class End(_message.Message):
    __slots__ = ("reason", "text", "totals")
    REASON_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    TOTALS_FIELD_NUMBER: _ClassVar[int]
    reason: EndReason
    text: str
    totals: _containers.RepeatedCompositeFieldContainer[EventTotals]
    def __init__(self, reason: _Optional[_Union[EndReason, str]] = ..., text: _Optional[str] = ..., totals: _Optional[_Iterable[_Union[EventTotals, _Mapping]]] = ...) -> None: ...

class EventTotals(_message.Message):
    __slots__ = ("schema_id", "delivered", "lost")
    SCHEMA_ID_FIELD_NUMBER: _ClassVar[int]
    DELIVERED_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    schema_id: int
    delivered: int
    lost: int
    def __init__(self, schema_id: _Optional[int] = ..., delivered: _Optional[int] = ..., lost: _Optional[int] = ...) -> None: ...

class ListSessionsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListSessionsResponse(_message.Message):
    __slots__ = ("sessions",)
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    sessions: _containers.RepeatedCompositeFieldContainer[SessionInfo]
    def __init__(self, sessions: _Optional[_Iterable[_Union[SessionInfo, _Mapping]]] = ...) -> None: ...

class SessionInfo(_message.Message):
    __slots__ = ("session_id", "caller", "label", "selectors", "start_realtime", "totals", "queued_bytes")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    CALLER_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    SELECTORS_FIELD_NUMBER: _ClassVar[int]
    START_REALTIME_FIELD_NUMBER: _ClassVar[int]
    TOTALS_FIELD_NUMBER: _ClassVar[int]
    QUEUED_BYTES_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    caller: Caller
    label: str
    selectors: _containers.RepeatedScalarFieldContainer[str]
    start_realtime: int
    totals: _containers.RepeatedCompositeFieldContainer[EventTotals]
    queued_bytes: int
    def __init__(self, session_id: _Optional[str] = ..., caller: _Optional[_Union[Caller, _Mapping]] = ..., label: _Optional[str] = ..., selectors: _Optional[_Iterable[str]] = ..., start_realtime: _Optional[int] = ..., totals: _Optional[_Iterable[_Union[EventTotals, _Mapping]]] = ..., queued_bytes: _Optional[int] = ...) -> None: ...

class StopSessionRequest(_message.Message):
    __slots__ = ("session_id",)
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    def __init__(self, session_id: _Optional[str] = ...) -> None: ...

class StopSessionResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
