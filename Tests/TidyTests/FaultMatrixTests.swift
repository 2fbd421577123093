// The fault matrix (RELIABILITY.md 6): for each row the test that shows it, or why it cannot be shown on one machine.
//
// A row is `number | how`, and how is one or more of, separated by `;`:
//   sim CLASS ...   fault classes of the deterministic simulation, judged by `keeps every promise`
//   test NAME       a test function of this repository
//   chaos NAME ...  a fault of the harness with real processes (Tests/Chaos/faults.py)
//   storm NAME ...  many orders at once, with real processes (Tests/Chaos/storm.py)
//   cannot REASON   it does not run on one machine
//   open REASON     nobody shows it yet
import Testing

@Suite struct `The fault matrix` {
    private static let rows = 142

    /// FA number and what shows it.
    private static let table = """
        1 | sim kill blackout; test each exit happens once, whoever dies; chaos kill_worker
        2 | sim kill blackout; test of a stop and a target on one tick one wins, the other completes without effect (40); chaos kill_worker
        3 | sim kill pgReset; chaos kill_worker network
        4 | sim kill; test a take that nobody received comes back without a crash (15); chaos kill_worker
        5 | sim kill pause; chaos kill_worker
        6 | sim kill pgReset; chaos kill_worker network
        7 | sim kill venueLoss; test a request that was lost is repeated only after the proof; chaos kill_worker
        8 | sim kill venueLoss; chaos kill_worker network
        9 | sim kill venueAnswer; test an answer that was lost is found by a look-up; chaos kill_worker venue_faults
        10 | sim kill; test each exit happens once, whoever dies; chaos kill_worker
        11 | sim kill pgReset; chaos kill_worker network
        12 | sim kill; test every job may come again; test loses and doubles nothing; chaos kill_worker
        13 | sim kill venuePartial venueStream; chaos kill_worker
        14 | test a thousand jobs of a dead worker come back in their order; test keeps the contract of queues; test a job that ends its workers is said, until one comes through
        15 | sim kill; test a job whose process died between commit and offer appears (38); chaos kill_scheduler
        16 | sim blackout; test killing a worker, the leader, and all of Redis changes nothing at the venue; chaos kill_worker kill_scheduler
        17 | sim kill feed; chaos kill_feed
        18 | sim kill trader; test an answer that nobody heard before the API was killed is told to the repeated request; chaos kill_api
        19 | test a stream that is cut goes on where it was, without gap or repeat; chaos kill_api
        20 | sim blackout
        21 | sim blackout; chaos kill_everything
        22 | test fifty thousand dead jobs, the run killed half way, each moves once (34)
        23 | sim pause; test waits for what was reached before it; test a request lives from its timestamp to the end of its window; chaos pause_worker
        24 | sim pause; test a leader that slept gives away nothing, and its worker moves no cursor (39); chaos pause_worker
        25 | sim pause; test a leader that slept gives away nothing, and its worker moves no cursor (39)
        26 | sim pause feed; chaos pause_feed
        27 | sim redisOutage; test a silent server gives an unknown outcome by the deadline and is used again when it wakes
        28 | sim pgOutage; test a suspended server holds nobody beyond the deadline; chaos pause_postgres
        29 | sim pause; chaos pause_worker
        30 | sim pause; test a handler that burns the CPU longer than the lease keeps it (8); chaos starve_worker
        31 | test a handler that burns the CPU longer than the lease keeps it (8)
        32 | sim kill; chaos take_memory
        33 | chaos take_descriptors
        34 | test hands its shards to others, though its process lives
        35 | sim pause; chaos pause_everything
        36 | sim redisLoss; test acknowledged triggers that Redis loses run all the same, each once (12, 13); chaos kill_redis
        37 | test Redis is killed while a handler finishes: the effect is once and the job completes (10, 11)
        38 | sim redisLoss; test flushing everything harms no connection; chaos flush_redis
        39 | test an empty Redis says that it is closed, another deployment and generation are refused
        40 | test triggers flow while Redis is full (29); test a full Redis refuses offers and drains (29); chaos fill_redis
        41 | test a Redis that evicts keys is refused; test triggers flow while Redis may evict jobs, and through it again afterwards
        42 | sim net redisOutage; test a silent server gives an unknown outcome by the deadline and is used again when it wakes
        43 | test an answer that is none is an unknown outcome, and the next connection works; test an answer that is cut is an unknown outcome at every byte; chaos network
        44 | test stops fire once while sentinels replace the master; test behind sentinels a failover under load loses no job for good (13)
        45 | test stops fire once while sentinels replace the master
        46 | test a master that dies under load is replaced, and no job is lost for good (13, 42)
        47 | test slots that move under load lose nothing, and everything goes on (42)
        48 | test a wrong password is told, the right one works
        49 | test Redis is killed while a handler finishes: the effect is once and the job completes (10, 11)
        50 | sim redisReset; test a finish whose reply is lost is repeated with success (14)
        51 | sim redisReset; test a take whose reply is lost is replayed, and charges nobody (15)
        52 | test a job whose marker is gone is taken within the poll (16)
        53 | test a connection that is half open is noticed, shown, and replaced (17)
        54 | test a job without a body is not run, is dead, and can be brought again (26)
        55 | test without queue and stream the outbox and the extremes carry everything; test every golden scenario comes out on a cluster as it is written
        56 | sim pgOutage; test a terminated session says outcomeUnknown, a restart is survived
        57 | test kill -9 of the server loses nothing confirmed, and the pool recovers; chaos kill_postgres
        58 | test kill -9 of one backend loses nothing confirmed, and the pool recovers; chaos kill_backend
        59 | sim pgReset; test a transaction takes effect as a whole or not at all; chaos network
        60 | sim pgReset; test a repeated commit learns what became of it; chaos network
        61 | chaos fail_over; test a restored database is in quarantine and forgets old decisions
        62 | test a restored database is in quarantine and forgets old decisions; test before anybody has noticed a promotion nothing is sent; test a promotion without the last commits makes workers watch what is stored; test an attempt behind one that the venue does not know is found; test an exit of the lost history is found and counted, not sent again; chaos lose_history
        63 | test a warning that comes with the commit makes it unconfirmed
        64 | chaos fill_disk
        65 | test a deadlock or a serialization failure is tried again, and takes effect once; test a collision that does not end is told as transient, and nothing is stored
        66 | test a deadlock or a serialization failure is tried again, and takes effect once
        67 | test sessions are in UTC, READ COMMITTED and wait for nothing without end
        68 | test a full queue refuses as notSent
        69 | chaos lag_replica
        70 | test a schema that is missing, newer, or edited is refused
        71 | test a first send of an old order asks the venue before; test while the venue does not answer nothing is sent; chaos lose_history
        72 | test a copied database holds its live accounts
        73 | test FA73 ahead: no absence is concluded early, and fences begin anew; test FA73 back: nothing waits for the old time
        74 | test a transaction that rolls back leaves no job (37)
        75 | sim pgOutage redisOutage venueOutage; chaos network
        76 | sim net; chaos network slow_link
        77 | test whose name is resolved no more is reached at its last good address; test a name that does not resolve keeps the deadline
        78 | test with a certificate that is not to be trusted gets no request; test what keeps requests from leaving is said as long as it does
        79 | test that is cut at any byte of request or answer leaves the outcome unknown; sim venueLoss venueAnswer; chaos network
        80 | sim pgOutage redisOutage venueOutage; chaos swizzle
        81 | sim venueRefusal; test that asks for patience is left alone
        82 | sim venueAnswer; test an error has the class that decides what happens; chaos venue_faults
        83 | sim venueLoss venueAnswer; chaos venue_faults
        84 | sim venueStream; test a private stream can be silent, repeat itself, and be cut
        85 | sim venuePartial venueStream; test a fill that races the exit time leaves at market
        86 | sim venuePartial; test a part-filled stop retries the rest: 6 with limit 84.60
        87 | sim venueAnswer; test an id is refused while its order is open and taken again after the fill; test an exit is accepted once, whatever becomes of its request
        88 | sim venueLag; test lookups lag behind placements; test an absence that executions contradict is none
        89 | sim venueDelay; test a request that waits too long before the engine is refused there
        90 | sim clock; test a venue clock that is off refuses what its own time says is old
        91 | test an accepted order can be ended by the venue at once
        92 | test only classes without an effect are refusals; test makes an outcome unknown, nothing else
        93 | sim venueOutage; test margin, halted markets and full books are refused in their own words; test a halted market needs attention and is tried every 10 s, until it trades
        94 | test refused credentials need attention at once and are tried every 5 s
        95 | sim venueRefusal; test refusals pause longer and longer, and after five somebody should look
        96 | test flat or flipped elsewhere: cancelled, nothing sent
        97 | sim venueStream; test a private stream can be silent, repeat itself, and be cut
        98 | cannot no adapter speaks to a venue with nonces yet
        99 | test a venue that breaks its own deadline is seen, and the order says so; test what was proven absent is looked at for minutes; test without a deadline a late twin takes nothing from a reduce-only exit
        100 | test a connection that is cut again and again loses and repeats no trade; test a stream that is cut is told and opened again
        101 | test tells no price by a frame that is none; test a ping is answered, a bad frame ends the connection, a wrong path is no stream
        102 | test keeps the first tick, the last, and every turn; test a conflated window crosses the same watches, at the same thresholds and, looked up, at the same ticks; test unlimited replays whole files in batches, exact and in order
        103 | test a repeated or late append changes nothing
        104 | sim feed; test a jump in the ids is filled before the newer trade comes out, also while the history fails; test a hole in the prices voids what is before it; test a stretch that was not heard is told, filled or not; test who was armed is told once, who came later is not, and a refresh confirms
        105 | test what happened before the feed began is read from the venue's history
        106 | test one print 99 percent away fires without a guard, and its limit bounds the price; test is judged before it counts; test a lone print is ignored, and one that is confirmed fires; test whoever takes over decides on the same next print
        107 | sim kill feed; test a repeated or late append changes nothing; chaos kill_feed
        108 | sim redisLoss; test the oldest entry tells what was trimmed or lost
        109 | test armed legs fire where they stood, exits fit the new grid; test a threshold stays, what is sent fits the new grid; test a venue's markets are read again, and what differs is stored
        110 | test a worker's clock that is an hour off changes nothing (21, 22)
        111 | sim clock
        112 | test the venue's clock is followed; test whose time is not known well gets no entries, later nothing, and the fence grows
        113 | sim redisReset; test every job may come again
        114 | test an unreadable payload harms no other job (27)
        115 | test a job whose attempt is over decides nothing
        116 | test foreign ids are handed out as they are (28)
        117 | test keeps the contract of queues
        118 | sim blackout; test a paused queue keeps its jobs in order (31), a limit on running jobs holds
        119 | test a connection that says nothing is closed
        120 | test the first bytes may come one by one; test a request that takes too long is answered
        121 | test who reads nothing is closed, the others are not held up
        122 | test rates are counted per policy, and protection has its own
        123 | sim trader; test a replay answers what was answered first, whatever became of the order
        124 | test a stranger finds nothing, and the same nothing for what exists and what does not
        125 | test a ticket opens one stream once; test our subprotocol and origin are accepted, extensions are not
        126 | test depth and size have limits; test a body of another shape is refused with its place
        127 | test comes back as it was, is searched for as it is, and harms nothing
        128 | test a revoked key closes the stream
        129 | test no private address is reached, whatever name stands before it; test the connection goes to the address that was judged
        130 | test makes an outcome unknown, nothing else; test sends nobody elsewhere
        131 | test a pipe that nobody reads drops lines, counts them, and tells later
        132 | sim drain; test a rolling restart of all workers loses nothing and doubles nothing (20)
        133 | test the dead run again under their ids, once (34)
        134 | test fifty thousand dead jobs, the run killed half way, each moves once (34)
        135 | sim halt; test a halt keeps the stop latched and sends it when it ends
        136 | test every secret is sealed with the new master key, and the old one is refused then
        137 | test migrators that run at once do each step once
        138 | cannot there is no older release yet
        139 | storm restart
        140 | test a worker stops in time while Redis is silent (18)
        141 | cannot it takes a day: scripts/soak
        142 | test of a stop and a target on one tick one wins, the other completes without effect (40)
        """

    private struct Row {
        let number: Int
        let ways: [(kind: Substring, what: Substring)]
    }

    private var matrix: [Row] {
        Self.table.split(separator: "\n").compactMap { line in
            let halves = line.split(separator: " | ", maxSplits: 1)
            guard halves.count == 2, let number = Int(halves[0]) else { return nil }
            let ways = halves[1].split(separator: "; ").map { way in
                let parts = way.split(separator: " ", maxSplits: 1)
                return (parts[0], parts.count == 2 ? parts[1] : "")
            }
            return Row(number: number, ways: ways)
        }
    }

    @Test func `has every row once`() {
        #expect(matrix.map(\.number) == Array(1...Self.rows))
    }

    @Test func `names tests and fault classes that exist`() throws {
        var tests: Set<Substring> = []
        let pattern = try Pattern("func `([^`]+)`")
        for path in try Checkout.files(below: "Tests") {
            for name in pattern.groups(try Checkout.text(path)) { tests.insert(name[...]) }
        }
        let faults = try Checkout.text("Sources/Simulation/Faults.swift")
        var classes: Set<Substring> = []
        for line in faults.split(separator: "\n").prefix(while: { !$0.contains("struct FaultPlan") }) {
            let words = line.split { !$0.isLetter }
            if words.first == "case" { classes.formUnion(words.dropFirst()) }
        }
        let chaos = try Checkout.text("Tests/Chaos/faults.py")
        let storm = try Checkout.text("Tests/Chaos/storm.py")
        for row in matrix {
            #expect(!row.ways.isEmpty)
            for (kind, what) in row.ways {
                switch kind {
                case "test": #expect(tests.contains(what), "FA\(row.number): no test is called \(what)")
                case "sim":
                    for name in what.split(separator: " ") {
                        #expect(classes.contains(name), "FA\(row.number): no fault class is called \(name)")
                    }
                case "chaos":
                    for name in what.split(separator: " ") {
                        #expect(chaos.contains("def \(name)(self)"), "FA\(row.number): chaos does not do \(name)")
                    }
                case "storm":
                    for name in what.split(separator: " ") {
                        #expect(storm.contains("def \(name)(program"), "FA\(row.number): storm does not do \(name)")
                    }
                case "cannot", "open": #expect(what.count > 10, "FA\(row.number) gives no reason")
                default: Issue.record("FA\(row.number): what is \(kind)?")
                }
            }
        }
    }
}
