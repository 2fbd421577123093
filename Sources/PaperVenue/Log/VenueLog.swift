// venue.jsonl: the append-only record of everything the paper venue was asked, did and answered. It is the judge of the
// fault tests and the venue's own memory: a restart replays it.
//
// One JSON object per line, line feeds, UTF-8. Decimals are strings, times whole microseconds since 1970 by the venue's
// clock. Every line has
//   n     1, 2, 3 ... without a hole, over all restarts
//   time  when it happened
//   kind  one of the following
// Lines about an order have all of: account (API key), market (paper:<product>:<symbol>), clientOrderId, side (BUY,
// SELL), type (MARKET, LIMIT, LIMIT_MAKER), timeInForce, qty (ordered), price (limit, "0" for MARKET), result.
//
//   kind      result               further fields
//   start     -                    schema (1), seed, torn (the process before ended inside a line)
//   account   -                    account, twoSides: an API key was seen for the first time
//   deposit   -                    account, product, asset, amount (negative: withdrawn)
//   request   RECEIVED             request (number), op (place, cancel, lookup, openOrders, ...), method, T0 (the
//                                  client's timestamp, ms), recvWindow (ms); written on arrival, before any check
//   accept    NEW                  request, orderId, T0, reduceOnly, positionSide, selfTrade, reserved; of a
//                                  stop stopPrice (it sleeps), of a leg listId, listClientOrderId
//   refuse    the code, as text    request, op, status, message: nothing was executed
//   fill      status afterwards    orderId, tradeId, fillQty, fillPrice, maker, fee, feeAsset, realized, filled
//   end       FILLED, CANCELED,    orderId, filled; request when a request ended it. Exactly one per accepted order
//             EXPIRED, EXPIRED_IN_MATCH
//   wake      NEW                  orderId, reserved (in addition): a sleeping stop is on the book
//   algo      NEW                  algoId, triggerPrice, callbackRate (of a trailing one), mark, closePosition,
//                                  reduceOnly, positionSide, selfTrade: a conditional order sleeps; the order that it
//                                  becomes has its clientOrderId
//   algoTrail -                    algoId, best: what a trailing one has reached
//   algoEnd   TRIGGERED, FINISHED, algoId; orderId of the order that it became
//             CANCELED, EXPIRED,
//             REJECTED
//   answer    SENT, DROPPED        request, status (HTTP), code (absent: success), fault (what was done to it)
//   tick      -                    market, source, price, qty, venueTime, sequence: before the first fill at it, and
//                                  at most once a second without one
//   control   -                    change: the control document
//   leverage  -                    account, market, leverage
//   sides     -                    account, twoSides
//   stream    -                    account, product, listenKey: a listen key was given out, or ended (no listenKey)
//   position  -                    account, market, positionSide, qty (signed), price: changed by hand, not by a fill
//
// ticks.jsonl, where configured, has every tick that was fed, as lines of kind tick with numbers of its own.
//
// Order of lines: request, accept, fills, end, answer; what a tick causes follows its tick line. A line is in the
// kernel before the answer that tells of it leaves (`flush` first, then send), so `kill -9` loses no answered change;
// with `fsync` the same holds for the machine. The file never shrinks: a torn last line stays, is ended with a line
// feed and skipped by every reader. Cost: about 1 us per line, one write(2) per batch of requests.

internal import JSONText
internal import SmartOrders

#if canImport(Glibc)
internal import Glibc
#else
internal import Darwin
#endif

struct VenueLogError: Error, CustomStringConvertible {
    let description: String
}

/// Writes the log. Owned by the engine's thread.
final class VenueLog {
    private let descriptor: Int32
    private let durability: PaperVenueConfiguration.Durability
    private var writer = JSONWriter(reserving: 1 << 16)
    private(set) var lines = 0
    /// Number of the request that is being worked on; 0 outside of requests.
    var request = 0
    /// Its client timestamp, ms.
    var clientTime: Int64?

    /// Opens (or makes) the file; `lines` is the number of its lines so far. Nil path: nothing is written.
    init(path: String?, durability: PaperVenueConfiguration.Durability, lines: Int = 0) throws(VenueLogError) {
        self.durability = durability
        self.lines = lines
        guard let path else {
            descriptor = -1
            return
        }
        descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else {
            throw VenueLogError(description: "cannot open the venue log \(path): errno \(errno)")
        }
    }

    deinit { if descriptor >= 0 { close(descriptor) } }

    /// Lines of a file; 0 when there is none.
    static func countLines(_ path: String) -> Int {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return 0 }
        defer { close(descriptor) }
        var chunk = [UInt8](repeating: 0, count: 1 << 16)
        var lines = 0
        while true {
            let count = chunk.withUnsafeMutableBytes { read(descriptor, $0.baseAddress, $0.count) }
            guard count > 0 else { return lines }
            lines += chunk[..<count].count { $0 == UInt8(ascii: "\n") }
        }
    }

    var isOn: Bool { descriptor >= 0 }

    /// Adds one line. `body` writes the members after n, time and kind.
    func line(_ kind: StaticString, at time: Int64, _ body: (inout JSONWriter) -> Void) {
        guard isOn else { return }
        lines += 1
        writer.beginObject()
        writer.member("n", lines)
        writer.member("time", time)
        writer.key("kind")
        writer.string("\(kind)")
        body(&writer)
        writer.endObject()
        writer.line()
    }

    /// Ends a line that the process before did not end.
    func endTornLine() {
        guard isOn else { return }
        writer.line()
    }

    /// Hands every line so far to the kernel (and the disk). Traps when the disk refuses: a venue that cannot
    /// remember must not answer.
    func flush() {
        guard isOn, !writer.bytes.isEmpty else { return }
        let bytes = writer.take()
        var offset = 0
        while offset < bytes.count {
            let count = bytes.withUnsafeBytes {
                write(descriptor, $0.baseAddress?.advanced(by: offset), $0.count - offset)
            }
            if count < 0, errno == EINTR { continue }
            precondition(count > 0, "cannot write the venue log: errno \(errno)")
            offset += count
        }
        switch durability {
        case .write: break
        case .fsync: precondition(fdatasync(descriptor) == 0, "cannot sync the venue log: errno \(errno)")
        }
    }
}

extension JSONWriter {
    mutating func member(_ key: StaticString, _ value: ExactDecimal) {
        self.key(key)
        decimal(magnitude: value.mantissa.magnitude, isNegative: value.isNegative, scale: Int(value.scale))
    }

    mutating func member(_ key: StaticString, _ value: Price) { member(key, value.value) }
    mutating func member(_ key: StaticString, _ value: Quantity) { member(key, value.value) }
    mutating func member(_ key: StaticString, _ value: Money) { member(key, value.value) }
}
