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

    @Test(arguments: 0..<200 as Range<UInt64>)
    func `a conditional order survives its row`(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let order = StoredOrder.conditional(random.conditionalOrder())
        #expect(try StoredOrder(encodedState: order.encodedState()) == order, "seed \(seed)")
        let other = StoredOrder.smart(random.order())
        #expect(try StoredOrder(encodedState: other.encodedState()) == other, "seed \(seed)")
    }

    /// What the initialiser takes: no default could hide it.
    private static let given: Set<String> = [
        "id", "account", "instrument", "createdAt", "updatedAt", "draft", "triggerSource",
    ]

    /// The compiler cannot tell when a stored property is new: the initialisers give defaults. This can: each property
    /// has to be varied by the random orders above, which have to survive.
    @Test func `no stored property is forgotten`() throws {
        var smart: Set<String> = []
        var conditional: Set<String> = []
        for seed in 0..<40 as Range<UInt64> {
            // Far apart: seeds that follow each other have one stream, a step later, and soon the same values.
            var random = SeededRandom(seed: seed &* 0x2545_f491_4f6c_dd1d)
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
            smart.formUnion(try varied(order, plain))
            let other = random.conditionalOrder()
            let plainOther = ConditionalOrder(
                id: other.id,
                account: other.account,
                instrument: other.instrument,
                createdAt: other.createdAt,
                updatedAt: other.updatedAt,
                draft: other.draft,
                triggerSource: other.triggerSource,
            )
            conditional.formUnion(try varied(other, plainOther))
        }
        var random = SeededRandom(seed: 0)
        let hint: Comment = "add the property to the random order, to the encoding and to the decoding"
        #expect(labels(random.order()).subtracting(smart) == Self.given, hint)
        #expect(labels(random.conditionalOrder()).subtracting(conditional) == Self.given, hint)
    }

    private func labels(_ order: some Any) -> Set<String> {
        Set(Mirror(reflecting: order).children.map { named($0).0 })
    }

    /// Properties in which two orders differ.
    private func varied(_ order: some Any, _ plain: some Any) throws -> Set<String> {
        let defaults = Dictionary(uniqueKeysWithValues: Mirror(reflecting: plain).children.map(named))
        return Set(Mirror(reflecting: order).children.map(named).filter { defaults[$0.0] != $0.1 }.map(\.0))
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
