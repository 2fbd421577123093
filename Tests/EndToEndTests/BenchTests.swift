// Every layer's bench runs on this tree, small: figures are worth nothing here, but whoever wants some must get them.
import JSONText
import Testing

extension EndToEnd {
    @Suite struct BenchTests {
        /// The queue's needs a package from outside (`scripts/oracle`).
        @Test(arguments: [
            ["index", "--orders", "2000"],
            ["store", "--orders", "2000"],
            ["trigger", "--rate", "50", "--seconds", "1"],
            ["api", "--requests", "100", "--part", "create,get,list,stream"],
        ])
        func `a layer is measured`(_ arguments: [String]) async throws {
            let run = try await Program.run(["bench"] + arguments + ["--json"], seconds: 120)
            #expect(run.status == 0, "\(run.complaint)")
            #expect(try run.documents.map { $0["bench"]?.text } == [arguments[0]])
        }
    }
}
