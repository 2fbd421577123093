import OrderEngine
import SmartOrders
import TestKit
import Testing

@testable import OrderStorage

/// What is kept of orders that were read has a bound, and what is asked for stays longest.
@Suite struct `Kept orders` {
    private func order(_ commit: Int64) -> ReadOrder { ReadOrder(.smart(.sample(1, .sample(1))), commit: commit) }
    private func id(_ number: UInt64) -> OrderID { OrderID(UniqueID(high: 0, low: number)) }

    @Test func `what is asked for stays, what is not goes`() {
        // Room for four of the least size.
        var kept = KeptOrders(limit: 4 * (8 << 10))
        for number in 1...100 as ClosedRange<UInt64> {
            kept.keep(order(Int64(number)), id(number), textBytes: 0)
            #expect(kept.find(id(number))?.commit == Int64(number))
            // Asked for all the time.
            #expect(kept.find(id(1))?.commit == 1)
        }
        let left = (2...100 as ClosedRange<UInt64>).filter { kept.find(id($0)) != nil }
        #expect(left.count <= 4 && left.contains(100), "\(left)")
    }

    @Test func `another commit takes the place of the one before`() {
        var kept = KeptOrders(limit: 1 << 20)
        kept.keep(order(1), id(1), textBytes: 100)
        kept.keep(order(2), id(1), textBytes: nil)
        #expect(kept.find(id(1))?.commit == 2)
    }

    @Test func `a note comes and goes without the commit`() {
        let first = order(7)
        let noted = first.noted("mind the gap")
        #expect(noted.smart?.draft.note == "mind the gap" && noted.commit == 7)
        #expect(noted.noted("").smart?.draft.note == nil)
        #expect(noted.noted(nil).stored == first.stored)
    }
}
