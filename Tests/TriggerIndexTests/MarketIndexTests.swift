import Testing
import TriggerIndex

@Test func `an empty index crosses nothing`() {
    var index = MarketIndex(tickUnits: 1)
    var crossings: [Crossing] = []
    for price in [1, 100, Int64.max - 1] { index.advance(to: price, &crossings) }
    #expect(crossings.isEmpty)
}
