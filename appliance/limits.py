"""Every bound of the Python side, with the sum that justifies it. Those of C stand in the header of
their class.

Units come last in a name: `_bytes`, `_s`, `_count`. Reaching a bound is a named, counted, tested
event.
"""

from __future__ import annotations

# ---- processes ----

#: One message between supervisor and worker, in bytes. The largest is the metrics of a worker: a
#: histogram has at most 128 × 57 buckets of about 12 bytes, three of them, and 64 flows of 100
#: names of 200 bytes: under 2 MB.
CONTROL_MESSAGE_MAX_BYTES = 4 << 20

#: Of it, at most so much for the last errors of all flows, as Python writes them.
STATUS_ERRORS_MAX_BYTES = 1 << 20

#: Bytes waiting to be sent on one control channel: two messages of the largest size.
CONTROL_QUEUE_MAX_BYTES = 2 * CONTROL_MESSAGE_MAX_BYTES

#: Clients of the admin socket at one time: a few people, a monitor, a script.
ADMIN_CLIENT_MAX_COUNT = 16

#: How long the supervisor waits for a worker's answer to `status`.
STATUS_TIMEOUT_S = 3.0

#: Flows given to one `run`: each has buffers of its own, and an edge box has a handful.
FLOW_MAX_COUNT = 64

#: Between two looks at the page of a worker: a stuck function is noticed within this and its own
#: time limit; a look costs a microsecond, so an idle box stays far below 1 % of a core.
WATCH_EVERY_S = 0.5

#: A lane that neither waits nor ticks for so long is stuck in native code: a turn takes
#: milliseconds, a cut of a large state less than a second.
LANE_STALL_S = 60.0

#: The wait before a dead worker is started again: the first, and the largest. Doubling between
#: them.
RESTART_FIRST_S = 0.2
RESTART_MAX_S = 30.0

#: A worker that was ready for so long starts the back-off anew.
RESTART_FORGIVE_S = 60.0

#: After a stop, how long a worker may wait for its sinks; without a store what is left then is lost
#: (and said so).
STOP_GRACE_S = 10.0

#: A lane that has not ended by then is told to give up.
STOP_ABORT_S = STOP_GRACE_S + 2.0

#: After that the supervisor ends the worker: the abort and the last messages take far less.
STOP_KILL_S = STOP_GRACE_S + 5.0

#: A second signal counts as "abort" only if it comes so much later: a terminal and a wrapper may
#: send the first twice.
SIGNAL_AGAIN_S = 0.5

#: Folders that killed one-file programs have left, removed by one start (of 30 MB each: a fraction
#: of a second), and how many entries of the temporary folder it looks at for them.
SWEEP_FOLDER_MAX_COUNT = 8
SWEEP_ENTRY_MAX_COUNT = 10_000

#: Such a folder may still be being unpacked until it is so old: seconds on the slowest card.
SWEEP_MIN_AGE_S = 60.0

#: From its start until "ready" (or a fault), a worker has this long: loading compiles flows and
#: opens sockets.
START_TIMEOUT_S = 120.0

#: A worker whose channel is closed is dying; one that is not dead by then is ended.
CHANNEL_GONE_S = 5.0

#: Events that killed a worker are remembered for its next starts; beyond this the oldest goes.
SET_ASIDE_MAX_COUNT = 256

#: How long telling the service manager may hold up the supervisor: it reads at once, or never.
NOTIFY_WAIT_S = 1.0

#: How long workers have to say whether they could go on with changed flows.
RELOAD_ANSWER_S = 30.0

#: How long `bettong reload` waits: a check, a stop, a start, and the way back are far below.
RELOAD_TIMEOUT_S = 600.0

#: The text of all flow files of a run, in bytes, that is kept for workers that start again; it
#: travels in one message to them. Of more than this, each start reads the files anew.
FLOW_TEXTS_MAX_BYTES = 1 << 20

#: The progress line of a bounded run is written so often.
PROGRESS_EVERY_S = 0.5

#: Descriptors that a worker asks for, as far as the system lets it: a source may have 10,000 files
#: or connections, and the usual 1,024 are there for programs that select().
DESCRIPTOR_MAX_COUNT = 16_384

#: The stack of a lane's thread, in bytes: user code recurses on it up to Python's own limit.
LANE_STACK_BYTES = 16 << 20

#: How long a thread may hold the GIL while another waits; the default of 5 ms is 5 ms of latency
#: (facts.md: 0.29).
GIL_SWITCH_S = 1e-4

# ---- connectors in Python ----

#: The most a source written in Python may hand over at once, in bytes: the lane's own largest read.
CHUNK_MAX_BYTES = 256 << 10

#: How long the `read` of a source may wait for something to come: it is asked to stop in between.
READ_WAIT_MAX_S = 0.1

#: While the lane's inbox is full: the first wait and the largest, doubling between them.
INBOX_WAIT_FIRST_S = 0.001
INBOX_WAIT_MAX_S = 0.05

#: A sink that says "later": the first wait and the largest, doubling, with jitter.
SINK_RETRY_FIRST_S = 0.1
SINK_RETRY_MAX_S = 30.0

#: So many reasons why a sink or a source fails are said until it works again. `status` has the
#: newest.
REASON_MAX_COUNT = 8

#: A source whose `read` fails is opened again: the first wait and the largest, doubling, with
#: jitter.
SOURCE_RETRY_FIRST_S = 0.2
SOURCE_RETRY_MAX_S = 30.0

#: A source that failed works again once it has read for so long: one that reads once after each
#: open and then fails must not begin its waits, and its log lines, anew each time.
SOURCE_FORGIVE_S = 10.0

#: The least `settings.memory`: a flow's receive buffers and one interval's results need as much.
MEMORY_MIN_BYTES = 1 << 20

#: Blocks of a spool that are kept in memory too, so that a sink that keeps up never reads the disk.
#: A block is a few kilobytes of objects besides its bytes: small ones are bounded by their count.
SPOOL_MEMORY_MAX_BYTES = 4 << 20
SPOOL_MEMORY_MAX_COUNT = 1024

#: A full spool takes results again when it has shrunk to this share of its bound: not at once, or
#: its sources would be stopped and started with every block.
SPOOL_LOW_SHARE = 0.9

#: So many blocks may wait to be sent without being a backlog, to which `resend_rate` applies.
SPOOL_LIVE_COUNT = 2

#: One spool block: what one cut holds for one sink is bounded by the lane, far below this.
BLOCK_MAX_BYTES = 256 << 20

#: Records of one block: the smallest takes two bytes of it.
RECORD_MAX_COUNT = BLOCK_MAX_BYTES // 2

#: What the write budget leaves unused may be used later, for so long; and no cut waits longer for
#: it than this, because its results wait too.
BUDGET_BURST_S = 3600.0
BUDGET_WAIT_MAX_S = 60.0

#: A commit that finds the disk full is tried again: the first wait and the largest, doubling.
COMMIT_RETRY_FIRST_S = 0.5
COMMIT_RETRY_MAX_S = 10.0

#: Shards of a flow: a key's shard is the top six bits of its hash.
SHARD_COUNT = 64

#: What a sender has on the way to a receiver that confirms later: blocks, and their bytes.
SEND_WINDOW_MAX_COUNT = 256
SEND_WINDOW_MAX_BYTES = 8 << 20

#: How often a sender looks whether something has been confirmed, when there is nothing to send.
CONFIRM_POLL_S = 0.02

#: A file is synced after so many bytes at the latest, and always when nothing more waits.
PLACE_SYNC_MAX_BYTES = 16 << 20

#: Lists of records that wait for the thread of one sink; the lane counts their bytes and stops long
#: before.
SINK_QUEUE_MAX_COUNT = 1024

#: Addresses waiting to be resolved: one for each sink and source of each flow.
RESOLVE_QUEUE_MAX_COUNT = 1024

#: Files named by one `glob` of a file source.
GLOB_MAX_COUNT = 10_000

#: How long a sink waits for its peer to connect, or to acknowledge what it was sent; and how often
#: it looks whether it has.
TCP_PEER_WAIT_MAX_S = 10.0
TCP_PEER_POLL_MS = 2

#: Connections waiting to be accepted on a listening socket.
LISTEN_BACKLOG_COUNT = 512

#: What the kernel is asked to keep of datagrams that the lane has not read, in bytes.
DATAGRAM_BUFFER_BYTES = 4 << 20

#: The generator makes records for so long at a time, so that slow rates come out evenly; and at
#: most so many.
GENERATE_SLICE_S = 0.02
GENERATE_SLICE_MAX_COUNT = 2000

# ---- links ----

#: One message of a link, in bytes: so many records that a message costs next to nothing for each.
LINK_MESSAGE_BYTES = 64 << 10

#: One result that a link carries: a message of its own, for which both ends need room.
LINK_RECORD_MAX_BYTES = 1 << 20

#: What an end takes from the wire at most: such a result with its head and its numbers.
LINK_MESSAGE_MAX_BYTES = LINK_RECORD_MAX_BYTES + 4096

#: What a receiver lets all senders send before it has handed it on, in bytes; shared among those
#: who are there. For one of them at least so much that the largest message fits and 10 MB/s pass a
#: line with 0.2 s to and fro; at most so much that a sender that was not scheduled for 10 ms does
#: not stop.
LINK_WINDOWS_BYTES = 64 << 20
LINK_WINDOW_MIN_BYTES = 2 << 20
LINK_WINDOW_MAX_BYTES = 8 << 20

#: Senders that one receiver serves at a time: 32 of the smallest windows.
LINK_SESSION_MAX_COUNT = 32

#: Histories that one receiver remembers, one a stream: each has a partition in its flow and about
#: 1 KB in every cut's record. A box that lost its memory begins a new one.
LINK_STREAM_MAX_COUNT = 256

#: Messages that ZeroMQ holds for one peer and direction; credit stops an honest peer before.
LINK_QUEUE_MAX_COUNT = 128

#: Batches that a sender has on the way: more than the engine gives it.
LINK_UNCONFIRMED_MAX_COUNT = 1024

#: Names in a HELLO (a host's name is the longest), its token, and the text of a refusal.
LINK_NAME_MAX_COUNT = 253
LINK_TEXT_MAX_COUNT = 500

#: From connecting until the receiver has said where to go on.
LINK_OPEN_TIMEOUT_S = 3.0

#: How long a sender waits for credit before it says "later".
LINK_CREDIT_WAIT_S = 0.5

#: A peer that has not finished its handshake by then is cut off; one that does not answer three
#: heartbeats is gone.
LINK_HANDSHAKE_S = 2.0
LINK_HEARTBEAT_S = 5.0
LINK_HEARTBEAT_TIMEOUT_S = 15.0

#: Connections that wait to be accepted, and handshakes and refusals looked at in one turn.
LINK_BACKLOG_COUNT = 64
LINK_EVENT_TURN_MAX_COUNT = 64

#: Clients that may be enrolled at one receiver, and tokens that wait for one.
LINK_PEER_MAX_COUNT = 1024
LINK_TOKEN_MAX_COUNT = 64

# ---- the acknowledged TCP protocol ----

#: One frame, in bytes: with the length that each of its messages gets on the way to the lane it
#: still fits into one chunk (240 KiB + 4,096 × 4 = 256 KiB).
ACKNOWLEDGED_FRAME_MAX_BYTES = 240 << 10

#: Messages of one frame: so many empty ones still cost little more than their bytes.
ACKNOWLEDGED_FRAME_MAX_COUNT = 4096

#: A message alone in its frame: what else the frame says takes less than the rest.
ACKNOWLEDGED_MESSAGE_MAX_BYTES = ACKNOWLEDGED_FRAME_MAX_BYTES - 64

#: The first frame of a client that has not said who it is, in bytes: a name and a token.
ACKNOWLEDGED_HELLO_MAX_BYTES = 1 << 10

#: Clients of one source at one time: each may hold one frame and one read, so 40 MB at the very
#: worst.
ACKNOWLEDGED_CLIENT_MAX_COUNT = 128

#: Streams that one source remembers: each is a partition of the lane, which has at most 10,000.
ACKNOWLEDGED_STREAM_MAX_COUNT = 8192

#: The name of a stream, in bytes of UTF-8.
ACKNOWLEDGED_STREAM_MAX_BYTES = 64

#: What a client may have sent without an acknowledgement: a cut a second then gives 65,536 messages
#: a second and stream.
ACKNOWLEDGED_CREDIT_MAX_COUNT = 65_536
ACKNOWLEDGED_CREDIT_MAX_BYTES = 8 << 20

#: From being accepted to the end of the first frame, and from the first byte of a later frame to
#: its last. Time in which the source is pushed back does not count.
ACKNOWLEDGED_HELLO_S = 10.0
ACKNOWLEDGED_FRAME_S = 60.0

#: A client that was told an error has so long to read it and close.
ACKNOWLEDGED_LEAVE_S = 2.0

#: A receiver says something at least so often; a client that hears nothing for the longer time
#: connects anew.
ACKNOWLEDGED_HEARTBEAT_S = 10.0
ACKNOWLEDGED_SILENCE_S = 30.0

#: A client that acknowledges none of our bytes for so long has gone (the system's own patience is
#: 15 minutes).
ACKNOWLEDGED_GONE_S = 60.0

#: A client's waits before it connects again: the first and the largest, doubling, with jitter.
ACKNOWLEDGED_RETRY_FIRST_S = 0.1
ACKNOWLEDGED_RETRY_MAX_S = 30.0

# ---- the SQLite sink ----

#: Columns of a table: SQLite itself allows 2,000, and each record names all that it has.
SQLITE_COLUMN_MAX_COUNT = 500

#: How long a write waits for another program's transaction before the sink says "later".
SQLITE_BUSY_S = 1.0

#: Records in the table of those that could not be stored; beyond it the oldest go, and are counted.
SQLITE_REFUSED_MAX_COUNT = 100_000

# ---- words ----

#: The same log line appears at most so often in so many seconds; the rest is counted and said
#: afterwards.
LOG_REPEAT_MAX_COUNT = 5
LOG_REPEAT_WINDOW_S = 10.0

#: Different messages that the rate limit remembers; beyond them it forgets all and starts again.
LOG_MESSAGE_MAX_COUNT = 1000

#: After a cut larger than this, what it took in memory is given back to the system.
CUT_LARGE_BYTES = 4 << 20

#: One cut, in bytes: the lane gives up at the same size (CUT_BYTES_MAX). State and results of one
#: interval on a box with less memory than this are far below.
CUT_MAX_BYTES = 1 << 30

#: Positions of so many bytes are deflated: those of thousands of partitions, which are in each cut,
#: become a tenth. Fewer are not worth a call; more stay as they are, so that what comes of a
#: damaged record is bounded.
POSITIONS_DEFLATE_MIN_BYTES = 4 << 10
POSITIONS_DEFLATE_MAX_BYTES = 64 << 20

#: Parts of one kind in a cut: a source has at most 10,000 partitions, a flow 62 sources.
CUT_PART_MAX_COUNT = 1 << 20

#: One log line, in bytes.
LOG_LINE_MAX_BYTES = 8192

# ---- flows as they are written ----

#: A flow file or a user's Python file, in bytes: the largest sensible flow is a few hundred lines.
FLOW_FILE_MAX_BYTES = 1 << 20

#: Sources and sinks of one flow: the lane keeps a set of either in one 64-bit word.
SOURCE_MAX_COUNT = 64
SINK_MAX_COUNT = 64

#: Steps of one flow: a step becomes a few operators, of which a program has at most 4,096.
STEP_MAX_COUNT = 512

#: The longest name of a flow, source, step, sink or field: it stands in every metric and error
#: record.
NAME_MAX_COUNT = 64

#: The longest name of a field that a flow makes: it is written with every record.
FIELD_NAME_MAX_COUNT = 255

#: A hundred years: any sum of a time of our age and two durations stays far inside 63 bits of
#: microseconds.
DURATION_MAX_US = 36_500 * 86_400_000_000

#: The largest size that can be written: 16 TiB, beyond any disk of an edge box.
SIZE_MAX_BYTES = 16 << 40

#: The largest frame that may be allowed: the receive buffer of each connection can grow to it.
FRAME_MAX_BYTES = 64 << 20

#: The longest delimiter of a frame; the framer keeps it in place.
DELIMITER_MAX_BYTES = 16

#: Windows that one record may be in: size / every of a hopping window. Each of them is touched for
#: each record.
HOPPING_WINDOWS_MAX_COUNT = 10_000

# ---- expressions ----

#: The text of one expression: the longest that a person reads is a few hundred characters.
EXPRESSION_TEXT_MAX_COUNT = 16_384

#: Nesting of one expression: parsing, checking and compiling recurse, two or three frames a level,
#: far inside Python's limit of 1,000 frames.
EXPRESSION_DEPTH_MAX_COUNT = 100

#: Nodes of one expression; a list literal with as many items is still one node each.
EXPRESSION_NODE_MAX_COUNT = 4096

#: Arguments of one call and items of one list: the machine counts them in a byte; a map needs two
#: for each item.
CALL_ARGUMENT_MAX_COUNT = 255
MAP_ITEM_MAX_COUNT = 127

#: Slots of one flow's row, fields, constants and temporaries together: a row is then at most 64 KB
#: and stays in the cache.
SLOT_MAX_COUNT = 4096

#: Instructions of one block of code: a jump's target is 16 bits.
INSTRUCTION_MAX_COUNT = 65_535

#: Values that `lag(x, n)` keeps for each key: they are stored in every accumulator.
LAG_MAX_COUNT = 1024

#: What the demo's table keeps of a line that has not ended: results of the demo are 150 bytes long.
DEMO_LINE_MAX_BYTES = 1 << 20

#: Turns that a test waits for a lane to end or to take a chunk: each works through a whole buffer.
TEST_TURN_MAX_COUNT = 100_000

#: Characters of a flow file's line that a fault shows around its place: a caret below a line that
#: the terminal has wrapped points at nothing.
SHOWN_LINE_MAX_COUNT = 120

# ---- the store ----

#: The first size of the environment's map. It costs addresses, not memory; it doubles when full.
STORE_MAP_FIRST_BYTES = 64 << 20

#: What a store holds of the disk for transactions that make room: letting go of 1 GiB of results at
#: once writes 2.5 MB before any of it is free. It is made, and made whole again, where there is so
#: much room.
STORE_RESERVE_BYTES = 4 << 20
STORE_RESERVE_ROOM_BYTES = 4 * STORE_RESERVE_BYTES

#: Readers of one environment: a thread for each sink that sends what is spooled.
STORE_READER_MAX_COUNT = 512

#: A shard is merged when what was changed since its base outweighs the base, and at least so much:
#: below it a merge would write more pages than it frees.
STORE_MERGE_MIN_BYTES = 64 << 10

#: Deltas that a store holds: each one is a directory in memory and a look-up a shard at the start.
#: Beyond it the shards that pin the oldest are merged, however little they changed.
STORE_DELTA_MAX_COUNT = 4096

#: Bytes of deltas that nobody reads any more, which a cold shard pins, before it is merged: this
#: and as much as is alive.
STORE_DEAD_MIN_BYTES = 1 << 20

#: What was found damaged is kept: so much of one thing, and so much in all.
STORE_QUARANTINE_FILE_MAX_BYTES = 16 << 20
STORE_QUARANTINE_MAX_BYTES = 64 << 20

#: Damaged stores that were set aside under names of their own, before an operator must look.
STORE_SET_ASIDE_MAX_COUNT = 100

#: A damaged store is made again in transactions of so many bytes.
STORE_REBUILD_BATCH_BYTES = 16 << 20

#: What one opening lists of damage; the rest is counted in its last line.
STORE_DAMAGE_MAX_COUNT = 1000

#: One frame of an export: the rows of a shard, or a block of results.
EXPORT_FRAME_MAX_BYTES = 1 << 30

#: What an import commits in one transaction, or one frame more.
EXPORT_BATCH_BYTES = 16 << 20

#: What is kept of one description of damage until somebody accepts it.
DAMAGE_NOTE_MAX_BYTES = 1024

#: Sections of one commit: 64 flows of 1,000 steps.
STORE_SECTION_MAX_COUNT = 64_000

#: One entry of a capture: its head holds the whole state of a flow.
CAPTURE_ENTRY_MAX_BYTES = CUT_MAX_BYTES + (64 << 20)

#: The file of a capture, unless the command says otherwise: then the capture ends.
CAPTURE_MAX_BYTES = 1 << 30

#: What a capture takes along of the files beside the flow, each.
CAPTURE_FILE_MAX_BYTES = 1 << 20

#: How long the last cut of a capture may take, in seconds, before it ends without one.
CAPTURE_END_S = 30.0

# ---- upgrades ----

#: A release as it is fetched, and unpacked: an installed version takes up to 60 MB, and connectors'
#: clients may come along.
UPGRADE_ARCHIVE_MAX_BYTES = 256 << 20
UPGRADE_UNPACKED_MAX_BYTES = 512 << 20

#: Files and folders of a release: the standard library has 2,000.
UPGRADE_FILE_MAX_COUNT = 20_000

#: The file beside a release with its signature (110 bytes), and the manifest in it.
UPGRADE_SIGNATURE_MAX_BYTES = 1 << 10
UPGRADE_MANIFEST_MAX_BYTES = 4 << 10

#: Versions that stay installed: the running one, the one before it, and one more.
UPGRADE_KEPT_COUNT = 3

#: How long a command of a new version may take on trial: its first start reads it from the disk.
UPGRADE_TRIAL_S = 60.0

#: How long a restarted service may take until it is ready: a large state on a slow disk is read in
#: this, and a worker that takes longer to start is given up too (START_TIMEOUT_S).
UPGRADE_READY_S = 150.0

#: How long it must then stay so: a worker that fails again and again does it within seconds.
UPGRADE_SETTLED_S = 10.0

#: A service, or its workers, that had to be started again so often will not settle.
UPGRADE_RESTART_MAX_COUNT = 3

#: Between two looks at the service meanwhile.
UPGRADE_LOOK_S = 0.5

#: How long `systemctl` may take to accept an order.
UPGRADE_ORDER_S = 30.0

# ---- doctor ----

#: Below this a disk cannot take a cut and the pages that it frees only later; below the other, an
#: hour of a busy flow's results does not fit.
DOCTOR_DISK_FAULT_BYTES = 16 << 20
DOCTOR_DISK_WARNING_BYTES = 256 << 20

#: Files that must be possible: a store has four, a repair makes a few more.
DOCTOR_INODE_MIN_COUNT = 100

#: Writes that are synced to see how long it takes, and what is slow: flash that is worn or shared
#: takes longer than this, and each cut waits for two of them.
DOCTOR_SYNC_COUNT = 3
DOCTOR_SYNC_SLOW_S = 0.1

#: What one file unpacks, and as much again.
DOCTOR_TEMPORARY_MIN_BYTES = 64 << 20

#: Descriptors that one small flow needs, with room for its clients.
DOCTOR_DESCRIPTOR_MIN_COUNT = 256

#: Supervisor and one worker, without what `settings.memory` bounds.
DOCTOR_OWN_MEMORY_BYTES = 80 << 20

#: Files and folders that are followed, and sources that follow them, on a usual box.
DOCTOR_WATCH_MIN_COUNT = 8192
DOCTOR_WATCHER_MIN_COUNT = 64

#: Files of a data folder whose owners are looked at, and bytes of one file of facts.
DOCTOR_FILE_MAX_COUNT = 10_000
DOCTOR_FACT_MAX_BYTES = 1 << 20

#: Results that wait longer than this show that a sink has been away for more than a restart.
DOCTOR_SPOOL_AGE_S = 600

#: Entries of one list in a finding: the rest is counted.
DOCTOR_LISTED_MAX_COUNT = 5

#: One file of a support bundle; the newest lines of the log, and how long the program that has them
#: may take to say them.
DOCTOR_PART_MAX_BYTES = 2 << 20
DOCTOR_LOG_MAX_BYTES = 1 << 20
DOCTOR_LOG_LINE_COUNT = 5000
DOCTOR_PROGRAM_S = 10.0

#: A secret shorter than this is only taken out where it stands: everywhere else it would take words
#: apart.
DOCTOR_SECRET_MIN_COUNT = 4
