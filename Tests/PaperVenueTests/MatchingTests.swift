// The matching rules of scenarios/README.md 2, without a venue around them.

import PaperMatching
import SmartOrders
import Testing

private func order(
    _ key: Int,
    _ side: Side,
    _ type: VenueOrderType,
    _ quantity: String,
    at limit: String? = nil,
) -> BookOrder {
    BookOrder(
        key: key,
        side: side,
        type: type,
        limit: limit.map { Price(dec($0)) },
        quantity: Quantity(dec(quantity)),
    )
}

private func price(_ text: String) -> Price { Price(dec(text)) }
private func quantity(_ text: String) -> Quantity { Quantity(dec(text)) }

@Suite struct MatchingTests {
    @Test func `a market order takes any price, an IOC only its limit or better, at the fill price`() {
        var book = MatchingBook(fillPrice: price("100"))
        #expect(book.submit(order(1, .sell, .market, "3")).match?.price == price("100"))
        #expect(book.submit(order(2, .sell, .immediateOrCancel, "3", at: "90")).match?.price == price("100"))
        #expect(book.submit(order(3, .sell, .immediateOrCancel, "3", at: "100")).outcome == .filled)
        #expect(book.submit(order(4, .sell, .immediateOrCancel, "3", at: "100.01")).outcome == .expired)
        #expect(book.submit(order(5, .buy, .immediateOrCancel, "3", at: "99.99")).outcome == .expired)
        #expect(book.restingCount == 0)
    }

    @Test func `a GTC takes what it can and rests, then fills at its own limit as maker`() {
        var book = MatchingBook(fillPrice: price("100"), liquidity: quantity("4"))
        let taken = book.submit(order(1, .buy, .goodTillCancelled, "10", at: "101"))
        #expect(taken.outcome == .resting && taken.match?.quantity == quantity("4") && taken.match?.isMaker == false)
        #expect(book.price(fill: price("101.5"), liquidity: nil).isEmpty)
        let filled = book.price(fill: price("99"), liquidity: quantity("5"))
        #expect(filled == [Match(key: 1, side: .buy, quantity: quantity("5"), price: price("101"), isMaker: true)])
        #expect(book.resting(1)?.unfilled == quantity("1"))
    }

    @Test func `liquidity goes to resting orders in order of submission, then to takers`() {
        var book = MatchingBook(fillPrice: price("100"))
        _ = book.submit(order(1, .sell, .goodTillCancelled, "3", at: "105"))
        _ = book.submit(order(2, .sell, .goodTillCancelled, "3", at: "104"))
        _ = book.submit(order(3, .buy, .goodTillCancelled, "3", at: "90"))
        let filled = book.price(fill: price("106"), liquidity: quantity("7"))
        #expect(filled.map(\.key) == [1, 2])
        #expect(filled.map(\.price) == [price("105"), price("104")])
        #expect(book.submit(order(4, .buy, .market, "3")).outcome == .partiallyExpired)
        #expect(book.submit(order(5, .buy, .market, "3")).outcome == .expired)
        #expect(book.liquidity == .zero)
    }

    @Test func `before the first price nothing fills`() {
        var book = MatchingBook()
        #expect(book.submit(order(1, .buy, .market, "1")).outcome == .expired)
        #expect(book.submit(order(2, .buy, .goodTillCancelled, "1", at: "9")).outcome == .resting)
        #expect(book.takeWhole(order(3, .buy, .market, "1")) == nil)
    }

    @Test func `a cancelled order is gone, what filled before its cancel counts`() {
        var book = MatchingBook(fillPrice: price("100"))
        _ = book.submit(order(1, .sell, .goodTillCancelled, "10", at: "110"))
        #expect(book.fill(1, quantity: quantity("1"))?.price == price("110"))
        #expect(book.cancel(1)?.unfilled == quantity("9"))
        #expect(book.cancel(1) == nil)
        #expect(book.price(fill: price("120"), liquidity: nil).isEmpty)
        // The same key again: the old entry of the heap is not taken for it.
        _ = book.submit(order(1, .sell, .goodTillCancelled, "2", at: "130"))
        #expect(book.price(fill: price("120"), liquidity: nil).isEmpty)
        #expect(book.price(fill: price("130"), liquidity: nil).first?.quantity == quantity("2"))
    }

    @Test func `an order filled without an answer takes all of it, whatever its limit`() {
        var book = MatchingBook(fillPrice: price("100"), liquidity: quantity("5"))
        let match = book.takeWhole(order(1, .sell, .immediateOrCancel, "8", at: "104"))
        #expect(match == Match(key: 1, side: .sell, quantity: quantity("8"), price: price("100"), isMaker: false))
        #expect(book.liquidity == .zero)
    }

    @Test(arguments: 0..<32 as Range<UInt64>)
    func `the book agrees with a scan of all orders`(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var book = MatchingBook(fillPrice: price("100"))
        var naive: [(order: BookOrder, limit: Price, left: Quantity)] = []
        for key in 1...400 {
            let units = Int128.random(in: 80...120, using: &random)
            let limit = Price(ExactDecimal(mantissa: units, scale: 0))
            switch Int.random(in: 0..<6, using: &random) {
            case 0..<3:
                let isBuy = Bool.random(using: &random)
                let size = Quantity(ExactDecimal(mantissa: Int128.random(in: 1...9, using: &random), scale: 0))
                let order = BookOrder(
                    key: key,
                    side: isBuy ? .buy : .sell,
                    kind: .goodTillCancelled(limit: limit),
                    quantity: size,
                )
                let submission = book.submit(order)
                let left = size - (submission.match?.quantity ?? .zero)
                if left.isPositive { naive.append((order, limit, left)) }
            case 3:
                let victim = Int.random(in: 1...key, using: &random)
                let wanted = naive.firstIndex { $0.order.key == victim }
                #expect(book.cancel(victim)?.unfilled == wanted.map { naive[$0].left }, "seed \(seed)")
                if let wanted { naive.remove(at: wanted) }
            default:
                var left = Quantity(ExactDecimal(mantissa: Int128.random(in: 0...20, using: &random), scale: 0))
                let got = book.price(fill: limit, liquidity: left)
                var want: [Match] = []
                for index in naive.indices where naive[index].order.accepts(limit) && left.isPositive {
                    let amount = min(left, naive[index].left)
                    naive[index].left -= amount
                    left -= amount
                    want.append(
                        Match(
                            key: naive[index].order.key,
                            side: naive[index].order.side,
                            quantity: amount,
                            price: naive[index].limit,
                            isMaker: true,
                        )
                    )
                }
                naive.removeAll { $0.left.isZero }
                #expect(got == want, "seed \(seed)")
                #expect(book.liquidity == left, "seed \(seed)")
            }
            #expect(book.restingCount == naive.count, "seed \(seed)")
        }
    }
}
