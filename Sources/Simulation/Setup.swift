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
    /// Of evaluators.
    var beatMs: Int64 = 50
    /// Mean time between two prices of a market.
    var tickMs: Double = 600

    init(_ random: inout SeededRandom, safetyMs: Int64) {
        for (symbol, product) in [("AAA", "linear"), ("BBB", "linear"), ("CCC", "spot")] {
            markets.append(
                Instrument(
                    market: MarketID(venue: "paper", product: product, symbol: symbol),
                    kind: product == "spot" ? .spot : .perpetual,
                    tickSize: Price(ExactDecimal(mantissa: 1, scale: 2)),
                    stepSize: Quantity(ExactDecimal(mantissa: 1, scale: 1)),
                    baseAsset: symbol,
                    quoteAsset: "USDT",
                )
            )
        }
        // Longs and shorts in accounts of their own: a position is the sum of its orders. Then the same on spot.
        for number in 0..<4 as Range<UInt64> {
            accounts.append(
                Account(
                    id: AccountID(UniqueID(high: 0x0190_0000_0000_7000, low: 0x8000_0000_0000_0000 | number)),
                    name: "\(number % 2 == 0 ? "long" : "short") \(number / 2)",
                    venue: "paper",
                    product: number < 2 ? "linear" : "spot",
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
        beatMs = random.next() % 8 == 0 ? 50 : 250
        orders = 8 + Int(safetyMs * (20 + Int64(random.next() % 40)) / 900_000)
    }
}
