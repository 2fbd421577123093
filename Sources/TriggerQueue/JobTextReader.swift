// Reads a payload in the very form in which `JobText.payload` writes it, at a tenth of the cost of a JSON tree. Whatever
// differs, be it by a blank, is left to the general reader: the answer here is then "not mine", never a wrong job.
internal import OrderEngine
internal import SmartOrders

struct JobTextReader {
    private let bytes: [UInt8]
    private var at = 0

    /// Jobs that were offered together share their market and often their account.
    struct Memory {
        fileprivate var marketText: [UInt8] = []
        fileprivate var market: MarketID?
        fileprivate var accountText: [UInt8] = []
        fileprivate var account: AccountID?

        init() {}
    }

    private init(_ bytes: [UInt8]) { self.bytes = bytes }

    /// nil: not in our own form.
    static func job(
        id: JobID,
        name: Job.Name,
        data: [UInt8],
        jobClass: JobClass,
        memory: inout Memory,
    ) -> Job? {
        var reader = JobTextReader(data)
        guard reader.skip("{\"v\":1,\"order\":\""), let order = reader.text(), order.count == 36,
            UniqueID(String(decoding: order, as: UTF8.self)) == id.order.value, reader.skip(",\"leg\":\""),
            let leg = reader.text(), leg.elementsEqual(id.leg.description.utf8), reader.skip(",\"attempt\":"),
            reader.integer() == Int64(id.attempt), reader.skip(",\"version\":"), let version = reader.integer()
        else { return nil }
        var account: AccountID?
        if reader.skip(",\"account\":\"") {
            guard let text = reader.text() else { return nil }
            if !text.elementsEqual(memory.accountText) || memory.account == nil {
                memory.account = AccountID(String(decoding: text, as: UTF8.self))
                memory.accountText = Array(text)
            }
            account = memory.account
            if account == nil { return nil }
        }
        var market: MarketID?
        if reader.skip(",\"market\":\"") {
            guard let text = reader.text() else { return nil }
            if !text.elementsEqual(memory.marketText) || memory.market == nil {
                memory.market = MarketID(String(decoding: text, as: UTF8.self))
                memory.marketText = Array(text)
            }
            market = memory.market
            if market == nil { return nil }
        }
        var source: TriggerSource?
        var position: TickPosition?
        var times: CrossingTimes?
        if reader.skip(",\"tick\":{\"source\":\"") {
            guard let word = reader.text(), let known = TriggerSource(rawValue: String(decoding: word, as: UTF8.self)),
                reader.skip(",\"venueTime\":\""), let time = reader.integer(), reader.skip("\",\"sequence\":"),
                let sequence = reader.integer()
            else { return nil }
            source = known
            position = TickPosition(venueTime: time, sequence: sequence)
            var received: Timestamp?
            if reader.skip(",\"receivedAt\":\"") {
                guard let time = reader.integer(), reader.skip("\"") else { return nil }
                received = Timestamp(microseconds: time)
            }
            if reader.skip(",\"crossedAt\":\"") {
                guard let time = reader.integer(), reader.skip("\"") else { return nil }
                times = CrossingTimes(receivedAt: received, crossedAt: Timestamp(microseconds: time))
            } else if received != nil {
                return nil
            }
            guard reader.skip("}") else { return nil }
        }
        guard reader.skip("}"), reader.at == data.count else { return nil }
        return Job(
            id: id,
            name: name,
            jobClass: jobClass,
            version: version,
            account: account,
            market: market,
            source: source,
            position: position,
            times: times,
        )
    }

    /// Passes `word` if it comes next.
    private mutating func skip(_ word: StaticString) -> Bool {
        let count = word.utf8CodeUnitCount
        guard bytes.count - at >= count else { return false }
        for offset in 0..<count where bytes[at + offset] != word.utf8Start[offset] { return false }
        at += count
        return true
    }

    /// What is before the next quote, which is passed; nil for anything but plain ASCII.
    private mutating func text() -> ArraySlice<UInt8>? {
        let start = at
        while at < bytes.count {
            let byte = bytes[at]
            if byte == UInt8(ascii: "\"") {
                at += 1
                return bytes[start..<(at - 1)]
            }
            guard byte >= 0x20, byte < 0x7f, byte != UInt8(ascii: "\\") else { return nil }
            at += 1
        }
        return nil
    }

    /// As JSON writes it, at most 18 digits.
    private mutating func integer() -> Int64? {
        let start = at
        let isNegative = skip("-")
        let first = at
        var value: Int64 = 0
        while at < bytes.count, bytes[at] >= UInt8(ascii: "0"), bytes[at] <= UInt8(ascii: "9"), at - first < 18 {
            value = value * 10 + Int64(bytes[at] - UInt8(ascii: "0"))
            at += 1
        }
        guard at > first, at == first + 1 || bytes[first] != UInt8(ascii: "0") else {
            at = start
            return nil
        }
        return isNegative ? -value : value
    }
}
