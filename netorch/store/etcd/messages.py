"""The etcd messages in use, built when this module is imported.

The field numbers are from etcd's api/etcdserverpb/rpc.proto, api/mvccpb/kv.proto and api/authpb/auth.proto, and never change
for a released version. Of messages with the same fields there is one here.

Generated code refuses runtimes older than its generator, and registers global names that may clash with another
package. A private pool avoids both.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

Message = Any  # message classes are made at run time, so type checkers do not know their fields

_PACKAGE: Final = "netorch.etcd"
# A field is NAME=NUMBER:TYPE. A type is a scalar or another message of this table; [] means repeated.
_TABLE: Final = """
KeyValue               key=1:bytes create_revision=2:int64 mod_revision=3:int64 value=5:bytes lease=6:int64
Event                  type=1:int32 kv=2:KeyValue
ResponseHeader         cluster_id=1:uint64 member_id=2:uint64 revision=3:int64
RangeRequest           key=1:bytes range_end=2:bytes limit=3:int64 revision=4:int64 keys_only=8:bool
RangeResponse          header=1:ResponseHeader kvs=2:KeyValue[] more=3:bool count=4:int64
PutRequest             key=1:bytes value=2:bytes lease=3:int64
PutResponse            header=1:ResponseHeader
DeleteRangeRequest     key=1:bytes range_end=2:bytes
DeleteRangeResponse    header=1:ResponseHeader deleted=2:int64
Compare                result=1:int32 target=2:int32 key=3:bytes version=4:int64 create_revision=5:int64 mod_revision=6:int64
RequestOp              request_range=1:RangeRequest request_put=2:PutRequest request_delete_range=3:DeleteRangeRequest \
                       request_txn=4:TxnRequest
ResponseOp             response_range=1:RangeResponse response_put=2:PutResponse response_delete_range=3:DeleteRangeResponse \
                       response_txn=4:TxnResponse
TxnRequest             compare=1:Compare[] success=2:RequestOp[] failure=3:RequestOp[]
TxnResponse            header=1:ResponseHeader succeeded=2:bool responses=3:ResponseOp[]
CompactionRequest      revision=1:int64
CompactionResponse     header=1:ResponseHeader
WatchRequest           create_request=1:WatchCreateRequest progress_request=3:WatchProgressRequest
WatchCreateRequest     key=1:bytes range_end=2:bytes start_revision=3:int64 progress_notify=4:bool watch_id=7:int64 \
                       fragment=8:bool
WatchProgressRequest
WatchResponse          header=1:ResponseHeader watch_id=2:int64 created=3:bool canceled=4:bool compact_revision=5:int64 \
                       cancel_reason=6:string fragment=7:bool events=11:Event[]
LeaseGrantRequest      TTL=1:int64 ID=2:int64
LeaseGrantResponse     header=1:ResponseHeader ID=2:int64 TTL=3:int64
LeaseRevokeRequest     ID=1:int64
LeaseRevokeResponse    header=1:ResponseHeader
LeaseKeepAliveRequest  ID=1:int64
LeaseKeepAliveResponse header=1:ResponseHeader ID=2:int64 TTL=3:int64
StatusRequest
StatusResponse         header=1:ResponseHeader version=2:string leader=4:uint64
UserAddOptions         no_password=1:bool
Permission             permType=1:int32 key=2:bytes range_end=3:bytes
AuthRequest
AuthResponse           header=1:ResponseHeader
UserAddRequest         name=1:string options=3:UserAddOptions
UserRequest            name=1:string
UserGetResponse        header=1:ResponseHeader roles=2:string[]
UserListResponse       header=1:ResponseHeader users=2:string[]
UserGrantRoleRequest   user=1:string role=2:string
RoleAddRequest         name=1:string
RoleRequest            role=1:string
RoleGetResponse        header=1:ResponseHeader perm=2:Permission[]
RoleGrantRequest       name=1:string perm=2:Permission
RoleRevokeRequest      role=1:string key=2:bytes range_end=3:bytes
"""
_SCALARS: Final = {
    "bytes": descriptor_pb2.FieldDescriptorProto.TYPE_BYTES,
    "string": descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
    "bool": descriptor_pb2.FieldDescriptorProto.TYPE_BOOL,
    "int32": descriptor_pb2.FieldDescriptorProto.TYPE_INT32,  # also for enumerations: the same encoding
    "int64": descriptor_pb2.FieldDescriptorProto.TYPE_INT64,
    "uint64": descriptor_pb2.FieldDescriptorProto.TYPE_UINT64,
}


def _built() -> dict[str, Any]:
    """Return the class of each message in the table, by name."""
    file = descriptor_pb2.FileDescriptorProto(name="netorch-etcd.proto", package=_PACKAGE, syntax="proto3")
    lines = [line.split() for line in _TABLE.strip().splitlines()]
    for name, *fields in lines:
        message = file.message_type.add(name=name)
        for field in fields:
            label, _, rest = field.partition("=")
            number, _, kind = rest.partition(":")
            _add_field(message, label, int(number), kind)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name, *_ in lines}


def _add_field(message: Any, name: str, number: int, kind: str) -> None:  # noqa: ANN401 - protobuf's own
    proto = descriptor_pb2.FieldDescriptorProto
    scalar = kind.removesuffix("[]")
    label = proto.LABEL_REPEATED if kind.endswith("[]") else proto.LABEL_OPTIONAL
    field = message.field.add(name=name, number=number, label=label, type=_SCALARS.get(scalar, proto.TYPE_MESSAGE))
    if scalar not in _SCALARS:
        field.type_name = f".{_PACKAGE}.{scalar}"


_classes: Final = _built()

KeyValue: Final = _classes["KeyValue"]
RangeRequest: Final = _classes["RangeRequest"]
PutRequest: Final = _classes["PutRequest"]
DeleteRangeRequest: Final = _classes["DeleteRangeRequest"]
Compare: Final = _classes["Compare"]
RequestOp: Final = _classes["RequestOp"]
TxnRequest: Final = _classes["TxnRequest"]
CompactionRequest: Final = _classes["CompactionRequest"]
WatchRequest: Final = _classes["WatchRequest"]
WatchCreateRequest: Final = _classes["WatchCreateRequest"]
WatchProgressRequest: Final = _classes["WatchProgressRequest"]
WatchResponse: Final = _classes["WatchResponse"]
LeaseGrantRequest: Final = _classes["LeaseGrantRequest"]
LeaseRevokeRequest: Final = _classes["LeaseRevokeRequest"]
LeaseKeepAliveRequest: Final = _classes["LeaseKeepAliveRequest"]
StatusRequest: Final = _classes["StatusRequest"]
UserAddOptions: Final = _classes["UserAddOptions"]
Permission: Final = _classes["Permission"]
AuthRequest: Final = _classes["AuthRequest"]
UserAddRequest: Final = _classes["UserAddRequest"]
UserRequest: Final = _classes["UserRequest"]
UserGrantRoleRequest: Final = _classes["UserGrantRoleRequest"]
RoleAddRequest: Final = _classes["RoleAddRequest"]
RoleRequest: Final = _classes["RoleRequest"]
RoleGrantRequest: Final = _classes["RoleGrantRequest"]
RoleRevokeRequest: Final = _classes["RoleRevokeRequest"]

DELETED: Final = 1  # Event.type
VERSION, CREATED_AT, WRITTEN_AT = 0, 1, 2  # Compare.target; Compare.result 0 is EQUAL
READ, READ_WRITE = 0, 2  # Permission.permType

# The path of each call, and the type of its answer.
RANGE: Final = ("/etcdserverpb.KV/Range", _classes["RangeResponse"])
TXN: Final = ("/etcdserverpb.KV/Txn", _classes["TxnResponse"])
COMPACT: Final = ("/etcdserverpb.KV/Compact", _classes["CompactionResponse"])
GRANT: Final = ("/etcdserverpb.Lease/LeaseGrant", _classes["LeaseGrantResponse"])
REVOKE: Final = ("/etcdserverpb.Lease/LeaseRevoke", _classes["LeaseRevokeResponse"])
KEEP_ALIVE: Final = ("/etcdserverpb.Lease/LeaseKeepAlive", _classes["LeaseKeepAliveResponse"])
STATUS: Final = ("/etcdserverpb.Maintenance/Status", _classes["StatusResponse"])
WATCH: Final = ("/etcdserverpb.Watch/Watch", WatchResponse)
AUTH_ENABLE: Final = ("/etcdserverpb.Auth/AuthEnable", _classes["AuthResponse"])
USER_ADD: Final = ("/etcdserverpb.Auth/UserAdd", _classes["AuthResponse"])
USER_GET: Final = ("/etcdserverpb.Auth/UserGet", _classes["UserGetResponse"])
USER_LIST: Final = ("/etcdserverpb.Auth/UserList", _classes["UserListResponse"])
USER_DELETE: Final = ("/etcdserverpb.Auth/UserDelete", _classes["AuthResponse"])
USER_GRANT_ROLE: Final = ("/etcdserverpb.Auth/UserGrantRole", _classes["AuthResponse"])
ROLE_ADD: Final = ("/etcdserverpb.Auth/RoleAdd", _classes["AuthResponse"])
ROLE_GET: Final = ("/etcdserverpb.Auth/RoleGet", _classes["RoleGetResponse"])
ROLE_DELETE: Final = ("/etcdserverpb.Auth/RoleDelete", _classes["AuthResponse"])
ROLE_GRANT: Final = ("/etcdserverpb.Auth/RoleGrantPermission", _classes["AuthResponse"])
ROLE_REVOKE: Final = ("/etcdserverpb.Auth/RoleRevokePermission", _classes["AuthResponse"])
Method = tuple[str, Any]
