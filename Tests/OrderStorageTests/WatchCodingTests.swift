import SmartOrders
import TestKit
import Testing

@testable import OrderStorage

@Suite struct `Watches in bytes` {
    static let legs: [Leg] = [
        .entry, .takeProfit(1), .takeProfit(999), .stop, .partialStop(5), .close, .reduce, .add, .backstop,
        .conditional, .timer, .reconcile,
    ]
    static let numbers: [ExactDecimal] = [
        .zero, .one, ExactDecimal(mantissa: 6_500_012_345_678, scale: 8), ExactDecimal(mantissa: -1, scale: 36),
        ExactDecimal(mantissa: 99_999_999_999_999_999_999_999_999_999_999_999_999, scale: 0),
        ExactDecimal(mantissa: -99_999_999_999_999_999_999_999_999_999_999_999_999, scale: 18),
    ]

    private var all: [Watch] {
        var watches: [Watch] = []
        for leg in Self.legs {
            for (index, number) in Self.numbers.enumerated() {
                let price = Price(number)
                let other = Price(Self.numbers[(index + 2) % Self.numbers.count])
                let conditions: [Watch.Condition] = [
                    .atOrAbove(price), .atOrBelow(price), .trailsHigh(.rate(Rate(number)), extreme: other),
                    .trailsHigh(.amount(price), extreme: other), .trailsLow(.rate(Rate(number)), extreme: other),
                    .trailsLow(.amount(price), extreme: other),
                ]
                for (attempt, condition) in conditions.enumerated() {
                    watches.append(Watch(leg: leg, attempt: attempt * 1_000_000 + 1, condition: condition))
                }
            }
        }
        return watches
    }

    @Test func `what is written is what is read`() {
        for tickUnits in [0, 1, 127, 128, 50_000_000, .max / 2] as [Int64] {
            let read = WatchCoding.decode(WatchCoding.encode(all, tickUnits: tickUnits))
            #expect(read?.watches == all && read?.tickUnits == tickUnits)
        }
        let nothing = WatchCoding.decode(WatchCoding.encode([], tickUnits: 0))
        #expect(nothing?.watches == [] && nothing?.tickUnits == 0)
    }

    @Test func `cut or strange bytes are refused`() {
        let watch = all[20]
        let bytes = WatchCoding.encode([watch], tickUnits: 0)
        let onGrid = WatchCoding.encode([watch], tickUnits: 5)
        #expect(onGrid == [2, 5] + bytes.dropFirst())
        #expect(WatchCoding.decode([2, 0] + bytes.dropFirst()) == nil, "no grid")
        for count in 2..<bytes.count {
            #expect(WatchCoding.decode(Array(bytes.prefix(count))) == nil, "\(count) bytes")
        }
        #expect(WatchCoding.decode([3] + bytes.dropFirst()) == nil, "another version")
        #expect(WatchCoding.decode([1, 99, 1, 0, 0, 2]) == nil, "an unknown leg")
        #expect(WatchCoding.decode([1, 2, 1, 9, 0, 2]) == nil, "an unknown condition")
        #expect(WatchCoding.decode([1, 2, 1, 0, 37, 2]) == nil, "a scale out of range")
    }
}
