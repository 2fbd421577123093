// RFC 3339 times by hand: the core has no Foundation, and a formatter would cost more than the rest of an order.

public import SmartOrders

extension Timestamp {
    /// `2026-11-20T21:18:03.123456Z`: UTC, always six decimals. Years 0 to 9999; others are clamped to that range.
    public var rfc3339: String { String(decoding: Timestamp.text(microseconds), as: UTF8.self) }

    private static func text(_ moment: Int64) -> [UInt8] {
        let moment = min(max(moment, earliest), latest)
        let (seconds, micros) = dividing(moment, by: 1_000_000)
        let (days, second) = dividing(seconds, by: 86_400)
        let date = civil(days: days)
        var bytes: [UInt8] = []
        bytes.reserveCapacity(27)
        func put(_ value: Int64, width: Int) {
            var divisor: Int64 = 1
            for _ in 1..<width { divisor *= 10 }
            while divisor > 0 {
                bytes.append(UInt8(ascii: "0") + UInt8(value / divisor % 10))
                divisor /= 10
            }
        }
        put(date.year, width: 4)
        bytes.append(UInt8(ascii: "-"))
        put(date.month, width: 2)
        bytes.append(UInt8(ascii: "-"))
        put(date.day, width: 2)
        bytes.append(UInt8(ascii: "T"))
        put(second / 3600, width: 2)
        bytes.append(UInt8(ascii: ":"))
        put(second / 60 % 60, width: 2)
        bytes.append(UInt8(ascii: ":"))
        put(second % 60, width: 2)
        bytes.append(UInt8(ascii: "."))
        put(micros, width: 6)
        bytes.append(UInt8(ascii: "Z"))
        return bytes
    }

    private static let earliest = civilDays(year: 0, month: 1, day: 1) * 86_400_000_000
    private static let latest = civilDays(year: 10_000, month: 1, day: 1) * 86_400_000_000 - 1

    /// Reads `YYYY-MM-DDThh:mm:ss[.f]` with `Z` or an offset `+hh:mm`, `f` of 1 to 6 digits. Nil for anything else, for
    /// dates that do not exist and for `:60` seconds.
    public init?(rfc3339 text: some StringProtocol) {
        let bytes = Array(text.utf8)
        var position = 0
        func number(_ width: Int) -> Int64? {
            guard position + width <= bytes.count else { return nil }
            var value: Int64 = 0
            for byte in bytes[position..<position + width] {
                guard byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") else { return nil }
                value = value * 10 + Int64(byte - UInt8(ascii: "0"))
            }
            position += width
            return value
        }
        func take(_ byte: Character) -> Bool {
            guard position < bytes.count, bytes[position] == byte.asciiValue else { return false }
            position += 1
            return true
        }
        guard let year = number(4), take("-"), let month = number(2), take("-"), let day = number(2), take("T"),
            let hour = number(2), take(":"), let minute = number(2), take(":"), let second = number(2),
            (1...12).contains(month), hour < 24, minute < 60, second < 60
        else { return nil }
        let days = Timestamp.civilDays(year: year, month: month, day: day)
        let date = Timestamp.civil(days: days)
        guard day >= 1, date.year == year, date.month == month, date.day == day else { return nil }
        var micros: Int64 = 0
        if take(".") {
            var unit: Int64 = 100_000
            let start = position
            while let digit = number(1) {
                guard position - start <= 6 else { return nil }
                micros += digit * unit
                unit /= 10
            }
            guard position > start else { return nil }
        }
        var offset: Int64 = 0
        if !take("Z") {
            let isEast = take("+")
            guard isEast || take("-"), let hours = number(2), take(":"), let minutes = number(2), hours < 24,
                minutes < 60
            else { return nil }
            offset = (hours * 60 + minutes) * (isEast ? 60 : -60)
        }
        guard position == bytes.count else { return nil }
        let seconds = days * 86_400 + hour * 3600 + minute * 60 + second - offset
        self.init(microseconds: seconds * 1_000_000 + micros)
    }

    /// Quotient towards minus infinity, and the non-negative rest.
    private static func dividing(_ value: Int64, by divisor: Int64) -> (Int64, Int64) {
        let (quotient, rest) = value.quotientAndRemainder(dividingBy: divisor)
        return rest < 0 ? (quotient - 1, rest + divisor) : (quotient, rest)
    }

    /// Days since 1970-01-01 in the proleptic Gregorian calendar; the year is counted from March, so that the leap day
    /// is its last.
    private static func civilDays(year: Int64, month: Int64, day: Int64) -> Int64 {
        let marchYear = month > 2 ? year : year - 1
        let (era, yearOfEra) = dividing(marchYear, by: 400)
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
    }

    private static func civil(days: Int64) -> (year: Int64, month: Int64, day: Int64) {
        let (era, dayOfEra) = dividing(days + 719_468, by: 146_097)
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let monthFromMarch = (5 * dayOfYear + 2) / 153
        let month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        return (year, month, dayOfYear - (153 * monthFromMarch + 2) / 5 + 1)
    }
}
