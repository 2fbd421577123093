// The `Date` header (RFC 9110 5.6.7), made once a second.

internal import OwnerThread
internal import SmartOrders

final class HTTPDate: Sendable {
    private let last = Locked<(second: Int64, text: String)>((.min, ""))

    func text(_ now: Timestamp) -> String {
        let second = now.microseconds / 1_000_000
        return last.withLock { last in
            if last.second != second { last = (second, Self.format(second)) }
            return last.text
        }
    }

    /// - Parameter second: since 1970, not negative.
    static func format(_ second: Int64) -> String {
        let days = second / 86_400
        let rest = second % 86_400
        // Civil date of a day number, years counted from March.
        let shifted = days + 719_468
        let era = shifted / 146_097
        let dayOfEra = shifted % 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let march = (5 * dayOfYear + 2) / 153
        let month = march < 10 ? march + 3 : march - 9
        let day = dayOfYear - (153 * march + 2) / 5 + 1
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        let weekdays = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"]
        let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
        func two(_ number: Int64) -> String { number < 10 ? "0\(number)" : "\(number)" }
        let date = "\(weekdays[Int(days % 7)]), \(two(day)) \(months[Int(month - 1)]) \(year)"
        return "\(date) \(two(rest / 3_600)):\(two(rest / 60 % 60)):\(two(rest % 60)) GMT"
    }
}
