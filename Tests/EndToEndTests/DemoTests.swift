import JSONText
import Testing

extension EndToEnd {
    @Suite struct DemoTests {
        @Test func `the demo shows two targets filled, the stop at break-even, and what was earned`() async throws {
            let time = Program.isThorough ? "60s" : "20s"
            let demo = try await Program.run(["dev", "--for", time, "--json"], seconds: 150)
            try #require(demo.status == 0, "\(demo.complaint)")
            let orders = try demo.documents
            #expect(orders.map { $0["status"]?.text } == ["STOPPED", "STOPPED", "CLOSED", "PENDING", "CLOSED"])

            let first = try #require(orders.first)
            let story = Story(changes: first["changes"], result: first)
            // 4 at 105 or better, 3.5 at 110 or better, the rest at the entry: the prices are the first at or beyond.
            #expect(story.fills.map { $0.split(separator: " ").first } == ["entry", "tp1", "tp2", "sl"])
            #expect(story.facts.contains { $0.contains("breakEvenArmed") && $0.contains("100") })
            #expect(story.reason == "BREAK_EVEN")
            #expect(story.open == "0")
            #expect(story.profit?.hasPrefix("-") == false)
            #expect(demo.complaint.contains("TP1 FILLED"))
            #expect(demo.complaint.contains("stop moves to break-even 100"))
        }
    }
}
