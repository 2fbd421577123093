// What a run is made of before it begins: markets, accounts, habits of the venue, numbers of processes.
internal import OrderEngine
internal import SmartOrders

struct Setup {
    var markets: [Instrument] = []
    var accounts: [Account] = []
    var habits = VenueHabits()
    var workers = 3
    var schedulers = 2
    var streamLength = 100_000
    /// Orders that traders make in the safety phase.
    var orders = 30
    /// Mean time between two prices of a market.
    var tickMs: Double = 600

    init(_ random: inout SeededRandom, safetyMs: Int64) {
        for symbol in ["AAA", "BBB"] {
            markets.append(
                Instrument(
                    market: MarketID(venue: "paper", product: "linear", symbol: symbol),
                    kind: .perpetual,
                    tickSize: Price(ExactDecimal(mantissa: 1, scale: 2)),
                    stepSize: Quantity(ExactDecimal(mantissa: 1, scale: 1)),
                    baseAsset: symbol,
                    quoteAsset: "USDT",
                )
            )
        }
        // Longs and shorts in accounts of their own: a position is the sum of its orders.
        for number in 0..<2 as Range<UInt64> {
            accounts.append(
                Account(
                    id: AccountID(UniqueID(high: 0x0190_0000_0000_7000, low: 0x8000_0000_0000_0000 | number)),
                    name: number == 0 ? "long" : "short",
                    venue: "paper",
                    product: "linear",
                    mode: .paper,
                    maximumConditionals: 100_000,
                )
            )
        }
        let rules = IDRule.allCases
        habits.ids = rules[Int(random.next() % UInt64(rules.count))]
        habits.checksTwice = random.next() % 2 == 0
        habits.engineBoundMs = random.next() % 3 == 0 ? 10_000 : 1_000
        habits.clockSkewMs = Int64(random.next() % 4_000) - 2_000
        habits.answersWithoutFills = random.next() % 4 == 0
        workers = 2 + Int(random.next() % 4)
        tickMs = [200, 600, 1_500][Int(random.next() % 3)]
        if random.next() % 10 == 0 { streamLength = 50 }
        orders = 8 + Int(safetyMs * (20 + Int64(random.next() % 40)) / 900_000)
    }
}
