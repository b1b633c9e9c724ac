"""Lost answers: a transaction happens once or never, and its writer knows which."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator

import pytest

from netorch.errors import StoreError, StoreUnavailable
from netorch.store.base import Compare, Delete, Put, TxnResult
from netorch.store.etcd import messages as pb
from netorch.store.etcd import store as store_module
from netorch.store.etcd.address import parse_address
from netorch.store.etcd.client import Client, Unanswered
from netorch.store.etcd.keyspace import Keyspace
from netorch.store.etcd.messages import Message, Method
from netorch.store.etcd.store import EtcdStore
from netorch.store.etcd.unfinished import UnfinishedCluster
from netorch.store.replay import history
from tests.rig.etcd.cluster import Cluster


@pytest.fixture
def url(etcd: Cluster) -> str:
    return etcd.url(secrets.token_hex(4))


@pytest.fixture
def store(url: str) -> Iterator[EtcdStore]:
    made = EtcdStore(parse_address(url), create=True)
    yield made
    made.close()


@pytest.fixture
def other(store: EtcdStore, url: str) -> Iterator[EtcdStore]:
    made = EtcdStore(parse_address(url))
    yield made
    made.close()


@pytest.fixture
def lose(store: EtcdStore, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Message], None]], list[Message]]:
    """Lose the store's next transaction: it goes to a function instead, and its writer gets no answer."""
    lost: list[Message] = []
    once = Client.once

    def arrange(happens: Callable[[Message], None]) -> list[Message]:
        def losing(client: Client, method: Method, request: Message) -> Message:
            is_write = method is pb.TXN and any(op.request_put.key.endswith(b"#mark") for op in request.success)
            if client is store._client and is_write and not lost:
                lost.append(request)
                happens(request)
                raise Unanswered("the answer was lost")
            return once(client, method, request)

        monkeypatch.setattr(Client, "once", losing)
        return lost

    return arrange


def send(other: EtcdStore, request: Message) -> Message:
    return other._client.call(pb.TXN, request)


def test_a_transaction_whose_answer_was_lost_is_found(store: EtcdStore, other: EtcdStore, lose: Callable[..., None]) -> None:
    def happens(request: Message) -> None:
        send(other, request)
        for n in range(5):  # other clients go on writing
            other.txn([], [Put("other", b"%d" % n)])

    lose(happens)
    assert store.txn([Compare("k", 0)], [Put("k", b"1")]) == TxnResult(True, 2)
    found = store.get("k")
    assert found is not None
    assert (found.value, found.mod_revision) == (b"1", 2)
    assert [event.value for event in history(store, ["k"], 1)] == [b"1"]


def test_a_transaction_that_did_not_arrive_is_made_again(store: EtcdStore, lose: Callable[..., None]) -> None:
    lose(lambda request: None)
    assert store.txn([Compare("k", 0)], [Put("k", b"1")]).succeeded
    assert [event.value for event in history(store, ["k"], 1)] == [b"1"]


def test_a_transaction_that_arrives_after_it_was_given_up_does_not_happen(
    store: EtcdStore, other: EtcdStore, lose: Callable[..., list[Message]]
) -> None:
    lost = lose(lambda request: None)
    assert store.txn([], [Put("k", b"1")]).succeeded
    store.txn([], [Put("k", b"2")])
    assert not send(other, lost[0]).succeeded
    assert [event.value for event in history(store, ["k"], 1)] == [b"1", b"2"]


def test_a_transaction_that_lost_its_race_meanwhile_fails(store: EtcdStore, other: EtcdStore, lose: Callable[..., None]) -> None:
    lose(lambda request: other.txn([], [Put("k", b"theirs")]) and None)
    assert not store.txn([Compare("k", 0)], [Put("k", b"mine")]).succeeded


def test_deletions_that_may_delete_nothing_are_found_too(store: EtcdStore, other: EtcdStore) -> None:
    store.txn([], [Put("k", b"1"), Put("l", b"1")])
    before = store.revision()
    assert store.txn([Compare("k", before)], [Delete("a"), Delete("b")]) == TxnResult(True, before)
    assert store.txn([Compare("k", before)], [Delete("a"), Delete("k")]) == TxnResult(True, before + 1)
    assert store.txn([], [Delete("a"), Delete("l")]) == TxnResult(True, before + 2)
    assert store.mark(before + 1) != store.mark(before + 2)
    assert store.list("").kvs == ()


@pytest.mark.parametrize("cut", ["the first page", "a later page"])
def test_a_list_that_is_cut_short_is_no_answer(store: EtcdStore, monkeypatch: pytest.MonkeyPatch, cut: str) -> None:
    monkeypatch.setattr(store_module, "PAGE", 2)
    store.txn([], [Put(f"k/{n}", b"") for n in range(5)])
    call = Client.call

    def cutting(client: Client, method: Method, request: Message) -> Message:
        answer = call(client, method, request)
        pages = [response.response_range for response in answer.responses] if method is pb.TXN else [answer]
        for page in pages if (method is pb.TXN) == (cut == "the first page") else ():
            if page.more:
                del page.kvs[1:]
                page.more = False
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(Client, "call", cutting)
        with pytest.raises(StoreUnavailable, match=r"lists [13] of the 5 keys below 'k/'"):
            store.list("k/")
    assert len(store.list("k/").kvs) == 5


def removal(store: EtcdStore) -> Iterator[Message]:
    """Yield what removes all that belongs to a store."""
    for first, end in store._keys.whole():
        yield pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=first, range_end=end))


class TestAnotherStore:
    def test_one_whose_name_begins_alike_has_no_part_in_a_copy_or_its_removal(self, store: EtcdStore, url: str) -> None:
        store.txn([], [Put("k", b"")])
        for sign in ("-", "."):
            near = EtcdStore(parse_address(f"{url}{sign}2"), create=True)
            near.txn([], [Put("k", b"near")])
            near.close()
        send(store, pb.TxnRequest(success=list(removal(store))))
        for source in ("an interrupted copy", "another one"):
            copy = UnfinishedCluster(parse_address(url), source)
            copy.store.txn([], [Put("k", source.encode())])
            copy.close()
        for sign in ("-", "."):
            near = EtcdStore(parse_address(f"{url}{sign}2"))
            found = near.get("k")
            assert found is not None
            assert found.value == b"near"
            near.close()

    def test_one_that_was_emptied_is_noticed_by_reads_and_writes(self, store: EtcdStore, other: EtcdStore) -> None:
        send(other, pb.TxnRequest(success=list(removal(store))))
        for ask in (store.revision, lambda: store.list(""), lambda: store.txn([], [Put("k", b"")])):
            with pytest.raises(StoreUnavailable, match="was removed while in use"):
                ask()

    def test_one_that_was_made_in_its_place_is_noticed(self, store: EtcdStore, other: EtcdStore, url: str) -> None:
        store.txn([], [Put("k", b"")])
        send(other, pb.TxnRequest(success=list(removal(store))))
        new = EtcdStore(parse_address(url), create=True)
        for ask in (lambda: store.get("k"), lambda: store.txn([], [Put("k", b"")])):
            with pytest.raises(StoreUnavailable, match="now holds another store"):
                ask()
        assert new.get("k") is None
        assert new.uid != store.uid
        new.close()

    def test_keys_without_a_description_are_no_store(self, store: EtcdStore, other: EtcdStore, url: str) -> None:
        store.txn([], [Put("k", b"")])
        remove = pb.DeleteRangeRequest(key=store._keys.meta)
        send(other, pb.TxnRequest(success=[pb.RequestOp(request_delete_range=remove)]))
        with pytest.raises(StoreUnavailable, match="restore a backup"):
            EtcdStore(parse_address(url), create=True)

    def test_one_that_is_not_there_is_not_made_by_readers(self, url: str) -> None:
        with pytest.raises(StoreError, match="no store exists"):
            EtcdStore(parse_address(url))

    def test_a_newer_format_is_refused(self, store: EtcdStore, other: EtcdStore, url: str) -> None:
        put = pb.PutRequest(key=Keyspace(parse_address(url).name).meta, value=b'{"uid":"x","format":2}')
        send(other, pb.TxnRequest(success=[pb.RequestOp(request_put=put)]))
        with pytest.raises(StoreUnavailable, match="upgrade netorch"):
            EtcdStore(parse_address(url))
