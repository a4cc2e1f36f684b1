"""Both halves of a link without sockets: whatever happens on the way, each result is taken once, in
order, and what is lost is said (S21, S22)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.connect import Batch
from appliance.limits import LINK_RECORD_MAX_BYTES, LINK_SESSION_MAX_COUNT, LINK_STREAM_MAX_COUNT
from appliance.link import wire
from appliance.link.sender import GoBack, Memory, Refused, Sender
from appliance.link.wire import Ack, Gap, Reset, ResumeAt
from unit.links import STREAM, TWO, Pair, batches, hello, in_order, sender

SHARDS = st.lists(st.lists(st.integers(0, 4), max_size=12), max_size=8)


def answer(found: list[bytes]) -> Any:
    """The one message that came back."""
    (message,) = found
    return wire.read(message)


def connect(pair: Pair, one: Sender, connection: bytes = b"a", **words: Any) -> None:
    for message in pair.give(wire.pack(hello(**words)), connection):
        one.receive(message)


def drain(one: Sender) -> list[bytes]:
    """What the sender has to send now."""
    sent = []
    while (message := one.next_message()) is not None:
        sent.append(bytes(message))
        one.has_left()
    return sent


@given(SHARDS, st.data())
def test_everything_arrives_once_through_any_breaks(
    shards: list[list[int]], data: st.DataObject
) -> None:
    """Connections break after any message; the receiver starts again from any of its cuts."""
    made = batches(shards)
    pair, memory = Pair(), Memory({}, None)
    cut: dict[str, bytes] = {}
    kept = 0  # records that the last cut holds
    done = 0
    for turn in range(60):
        breaks = turn < 50 and data.draw(st.booleans())
        one = sender(memory)
        connect(pair, one, b"%d" % turn)
        base = done
        for batch in made[base:]:
            assert one.offer(batch)
            sent = drain(one)
            if breaks:
                sent = sent[: data.draw(st.integers(0, len(sent)))]
            for message in sent:
                for back in pair.give(message, b"%d" % turn):
                    one.receive(back)
            if data.draw(st.booleans()):
                cut, kept = pair.positions, len(pair.taken)
                pair.receiver.committed(cut)
                for back in pair.answers(b"%d" % turn):
                    one.receive(back)
            if breaks:
                break
        done = base + one.confirmed()
        if breaks and data.draw(st.booleans()):  # the receiver starts again, from its last cut
            taken = pair.taken[:kept]
            pair = Pair()
            pair.taken = taken
            pair.receiver.restore(cut)
        elif not breaks:
            break
    assert not breaks
    assert pair.records == [record for batch in made for record in batch.records]
    assert not pair.receiver.counts["lost"]


@given(SHARDS, st.randoms(use_true_random=False), st.data())
def test_messages_in_any_order_and_number_do_no_harm(
    shards: list[list[int]], random: Any, data: st.DataObject
) -> None:
    """Repeated, left out, mixed up, cut short: what is taken is the beginning, in order, once."""
    made = batches(shards)
    pair, one = Pair(), sender()
    connect(pair, one)
    sent = []
    for batch in made:
        assert one.offer(batch)
        sent += drain(one)
    everything = [record for batch in made for record in batch.records]
    for _ in range(data.draw(st.integers(0, 5))):
        mixed = random.choices(sent, k=len(sent)) if sent else []
        for message in mixed:
            size = data.draw(st.integers(0, len(message))) if random.random() < 0.1 else None
            pair.give(message[:size])
            if random.random() < 0.3:
                pair.give(wire.pack(hello()))
    for shard, numbers in in_order(pair.records).items():
        assert numbers == list(range(1, len(numbers) + 1)), shard
    assert all(record in everything for record in pair.records)
    pair.give(wire.pack(hello()))
    for message in sent:
        pair.give(message)
    assert sorted(pair.records) == sorted(everything)


@given(st.lists(st.binary(max_size=300), max_size=10))
def test_garbage_changes_nothing(garbage: list[bytes]) -> None:
    pair, one = Pair(), sender()
    connect(pair, one)
    (batch,) = batches([[1, 2, 1]])
    assert one.offer(batch)
    for message in garbage:
        (reset,) = pair.give(message, b"stranger")
        assert isinstance(wire.read(reset), Reset)
    for message in drain(one):
        pair.give(message)
    assert pair.records == list(batch.records)


def test_two_senders_do_not_mix() -> None:
    pair = Pair()
    other = bytes(16)
    ours, theirs = sender(), sender(stream=other)
    connect(pair, ours, b"a")
    connect(pair, theirs, b"b", stream=other)
    for batch, copy in zip(batches([[1], [1, 2]]), batches([[1], [1, 2]], other), strict=True):
        assert ours.offer(batch) and theirs.offer(copy)
        for message in drain(ours):
            pair.give(message, b"a")
        for message in drain(theirs):
            pair.give(message, b"b")
    assert sorted(pair.records) == sorted([b"1:1", b"1:2", b"2:1"] * 2)
    assert len(pair.positions) == 2
    assert isinstance(answer(pair.give(wire.pack(Gap(other, 1, 1, 1, 1)), b"a")), Reset)


def test_a_later_number_is_answered_with_where_to_go_on() -> None:
    pair, one = Pair(), sender()
    connect(pair, one)
    made = batches([[1], [1], [1]])
    sent = []
    for batch in made:
        assert one.offer(batch)
        sent += drain(one)
    pair.give(sent[0])
    back = pair.give(sent[2])
    assert answer(back).next == {1: 2}
    assert pair.give(sent[1]) == []  # on its way before the sender knew
    assert pair.records == [b"1:1"]
    with pytest.raises(GoBack):
        one.receive(back[0])


# ---- epochs, copies, histories ----


@pytest.mark.parametrize(
    ("claim", "code", "reason"),
    [
        ({"epoch": 2}, "epoch", "epoch 2 of box f out is over: box has sent as epoch 3"),
        ({"epoch": 3, "instance": TWO}, "copy", "two copies of one state are running"),
        ({"epoch": 4, "end": {1: 2}}, "numbers", "numbers go back: result 2 of shard 1"),
        ({"epoch": 4, "end": {}}, "numbers", "has made only 0: its state is older"),
    ],
)
def test_a_claim_that_cannot_be_is_refused(claim: dict[str, Any], code: str, reason: str) -> None:
    pair = Pair()
    one = Sender(hello(3), Memory({}, None))
    connect(pair, one, epoch=3)
    assert one.offer(batches([[1, 1]])[0])
    for message in drain(one):
        pair.give(message)
    restored = Pair()
    restored.receiver.restore(pair.positions)
    for each in (pair, restored):
        found = answer(each.give(wire.pack(hello(**claim)), b"b"))
        assert isinstance(found, Reset)
        assert (found.code, reason in found.reason) == (code, True), found
        assert each.receiver.counts[f"refused_{code}"] == 1
        (line,) = [line for line in each.notes.lines if reason in line]
        assert "'node': 'box', 'flow': 'f', 'sink': 'out'" in line, "it is said who claims that"


def test_an_epoch_from_the_future_ends_the_one_before() -> None:
    pair = Pair()
    connect(pair, sender(), b"a")
    assert isinstance(answer(pair.give(wire.pack(hello(9, TWO)), b"b")), ResumeAt)
    late = sender()
    late.receive(wire.pack(ResumeAt(STREAM, 1, True, {}, {}, 1000)))
    assert late.offer(batches([[1]])[0])
    assert answer(pair.give(drain(late)[0], b"a")).code == "hello"
    assert answer(pair.give(wire.pack(hello(1)), b"a")).code == "epoch"
    assert pair.records == []


def test_a_new_stream_under_a_known_name_is_a_new_history() -> None:
    pair = Pair()
    connect(pair, sender())
    found = answer(pair.give(wire.pack(hello(1, TWO, stream=bytes(16))), b"b"))
    assert isinstance(found, ResumeAt) and found.is_new
    assert pair.receiver.counts["new_histories"] == 1
    assert pair.notes.said("its memory is new") == 1


def test_a_receiver_that_lost_its_memory_is_told_of_every_gap() -> None:
    """Also of shards that never come again."""
    memory = Memory({1: 5, 7: 3}, {1: 6, 7: 3})
    pair, one = Pair(), sender(memory)
    connect(pair, one, end={1: 6, 7: 3})
    for message in drain(one):
        pair.give(message)
    history = pair.receiver.histories[STREAM, "out"]
    assert history.next.vector() == {1: 5, 7: 3}
    assert pair.receiver.counts["lost"] == history.lost == one.given_up == 6


def test_what_a_spool_gave_up_goes_out_as_a_gap() -> None:
    pair, one = Pair(), sender()
    connect(pair, one)
    made = batches([[1, 1], [1, 2], [1]])
    for batch in (made[0], made[2]):
        assert one.offer(batch)
        for message in drain(one):
            pair.give(message)
    assert pair.records == [b"1:1", b"1:2", b"1:4"]
    assert (pair.receiver.counts["gaps"], pair.receiver.counts["lost"]) == (1, 1)


# ---- credit, acknowledgements, bounds ----


def test_who_sends_beyond_its_credit_is_cut_off() -> None:
    pair, one = Pair(), sender()
    connect(pair, one)
    assert one.offer(batches([[1]])[0])
    (message,) = drain(one)
    session = pair.receiver._sessions[b"a"]
    session.received = session.credit - len(message) + 1
    assert answer(pair.give(message)).code == "credit"
    assert pair.records == []


def test_a_sender_stops_at_its_credit_and_goes_on_when_there_is_more() -> None:
    one = sender()
    one.receive(wire.pack(ResumeAt(STREAM, 1, True, {}, {}, 100)))
    first, second = batches([[1], [1]])
    assert one.offer(first)
    assert len(drain(one)) == 1
    assert one.offer(second)
    assert drain(one) == [] and one.is_waiting
    assert not one.offer(second)
    one.receive(wire.pack(Ack(STREAM, {1: 2}, 1000)))
    assert one.confirmed() == 1
    assert len(drain(one)) == 1 and not one.is_waiting


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (Ack(STREAM, {1: 4}, 2000), "acknowledges result 3 of shard 1, which was never sent"),
        (Ack(STREAM, {}, 2000), "numbers go back"),
        (Ack(STREAM, {1: 2}, 999), "numbers go back"),
        (Ack(bytes(16), {1: 2}, 2000), "another stream"),
        (Reset("epoch", "it is over"), r"refused \(epoch\): it is over"),
        (Gap(STREAM, 1, 1, 1, 1), "only a sender sends"),
    ],
)
def test_a_receiver_that_says_what_cannot_be_is_left(message: Any, reason: str) -> None:
    one = sender()
    one.receive(wire.pack(ResumeAt(STREAM, 1, False, {1: 2}, {1: 2}, 1000)))
    assert one.offer(batches([[1, 1]])[0])
    drain(one)
    with pytest.raises(Refused, match=reason):
        one.receive(wire.pack(message))


def test_a_receiver_that_knows_more_than_was_made_is_refused() -> None:
    one = sender(Memory({}, {1: 3}))
    with pytest.raises(Refused, match="has result 9 of shard 1, but this state has made only 2"):
        one.receive(wire.pack(ResumeAt(STREAM, 1, False, {1: 10}, {}, 1000)))


def test_streams_and_sessions_are_bounded() -> None:
    pair = Pair()
    for i in range(LINK_STREAM_MAX_COUNT + 10):  # they say hello and send nothing
        stream = i.to_bytes(16, "big")
        pair.give(wire.pack(hello(stream=stream)), b"%d" % i)
    assert len(pair.receiver.histories) <= LINK_STREAM_MAX_COUNT
    assert len(pair.receiver._sessions) == LINK_SESSION_MAX_COUNT
    assert pair.receiver.counts["refused_busy"] > 0
    for history in pair.receiver.histories.values():
        history.next[0] = 2
    while len(pair.receiver.histories) < LINK_STREAM_MAX_COUNT:
        stream = len(pair.receiver.histories).to_bytes(16, "little")
        pair.give(wire.pack(hello(stream=stream)), b"x" + stream)
        pair.receiver.histories[stream, "out"].next[0] = 2
    found = answer(pair.give(wire.pack(hello(stream=b"\xff" * 16)), b"last"))
    assert found.code == "full"


def test_a_gap_that_does_not_come_next_or_never_ends_is_refused() -> None:
    for first, last in ((2, 3), (1, wire.NUMBER_MAX), (3, 2)):
        pair = Pair()
        connect(pair, sender())
        assert answer(pair.give(wire.pack(Gap(STREAM, 1, 4, first, last)))).code == "garbled"


def test_a_result_that_no_link_carries_is_refused_by_its_size() -> None:
    one = sender()
    one.receive(wire.pack(ResumeAt(STREAM, 1, True, {}, {}, 1 << 30)))
    records = [bytes(LINK_RECORD_MAX_BYTES), bytes(LINK_RECORD_MAX_BYTES + 1)]
    assert one.offer(Batch(STREAM, 1, {1: 1}, b"\1\1", records))
    with pytest.raises(ValueError, match="a result of 1048577 bytes is larger than a link carries"):
        drain(one)


def test_a_batch_that_contradicts_itself_is_refused() -> None:
    for batch in (
        Batch(STREAM, 1, {1: 1}, b"\1", []),
        Batch(STREAM, 1, {1: 1}, b"\2", [b"a"]),
        Batch(STREAM, 1, {1: 1}, b"\x40", [b"a"]),
        Batch(STREAM, 2, {1: 1}, b"\1", [b"a"]),
        Batch(bytes(16), 1, {1: 1}, b"\1", [b"a"]),
    ):
        one = sender()
        one.receive(wire.pack(ResumeAt(STREAM, 1, True, {}, {}, 1000)))
        with pytest.raises(ValueError, match=r"a batch|has shard 64"):
            one.offer(batch)
