// The acceptance scenarios of the queue are named by their numbers (Tests/Oracle/README.md).

import Testing

@Suite(.enabled(if: Checkout.tracked != nil, "this is no git checkout"))
struct ScenarioTests {
    @Test func `each acceptance scenario of the queue has a test that is named by its number`() throws {
        let names = try Pattern("func `|\\.init\\(\"|^    \"\"\"\\(")
        var found: Set<Int> = []
        for folder in ["Tests/TriggerQueueTests", "Tests/EndToEndTests", "Tests/Oracle"] {
            for path in try Checkout.files(below: folder, ["swift", "py"]) {
                for line in try Checkout.lines(of: path) where names.matches(line.text) {
                    for part in line.text.split(separator: "(").dropFirst() {
                        let inside = part.prefix { $0 != ")" }
                        let numbers = inside.split(separator: ",").map { Int($0.filter { $0 != " " }) }
                        if numbers.allSatisfy({ $0 != nil }) { found.formUnion(numbers.compactMap { $0 }) }
                    }
                }
            }
        }
        #expect(Set(1...42).subtracting(found).sorted() == [])
    }
}
