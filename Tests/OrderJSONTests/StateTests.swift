import JSONText
import OrderJSON
import SmartOrders
import Testing

@Suite struct StateTests {
    @Test(arguments: 0..<400 as Range<UInt64>)
    func `an order survives its row`(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let order = random.order()
        let bytes = order.encodedState()
        let read = try SmartOrder(encodedState: bytes)
        #expect(read == order, "seed \(seed)")
        #expect(read.encodedState() == bytes, "seed \(seed)")
    }

    /// The compiler cannot tell when a stored property is new: `SmartOrder.init` gives defaults. This can: each property
    /// has to change the text of some random order.
    @Test func `no stored property is forgotten`() throws {
        var varied: Set<String> = []
        var all: Set<String> = []
        for seed in 0..<40 as Range<UInt64> {
            var random = SeededRandom(seed: seed)
            let order = random.order()
            let plain = SmartOrder(
                id: order.id,
                account: order.account,
                instrument: order.instrument,
                createdAt: order.createdAt,
                updatedAt: order.updatedAt,
                draft: order.draft,
                triggerSource: order.triggerSource,
            )
            let defaults = Dictionary(uniqueKeysWithValues: Mirror(reflecting: plain).children.map(named))
            for (label, value) in Mirror(reflecting: order).children.map(named) {
                all.insert(label)
                if defaults[label] != value { varied.insert(label) }
            }
        }
        let given: Set<String> = [
            "id", "account", "instrument", "createdAt", "updatedAt", "draft", "triggerSource",
        ]
        #expect(
            all.subtracting(varied) == given,
            "add the property to the random order, to StateEncoding and to StateDecoding",
        )
    }

    private func named(_ child: Mirror.Child) -> (String, String) {
        (child.label ?? "?", String(describing: child.value))
    }

    @Test func `a row of a newer program is refused`() {
        var random = SeededRandom(seed: 1)
        var text = String(decoding: random.order().encodedState(), as: UTF8.self)
        text.removeLast()
        text += ",\"newThing\":1}"
        let error = #expect(throws: JSONError.self) { try SmartOrder(encodedState: Array(text.utf8)) }
        #expect(error?.pointer == "/newThing")
    }
}
