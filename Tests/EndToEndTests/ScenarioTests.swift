// The golden scenarios through everything: API-side commands, PostgreSQL, Redis, scheduler, workers, and the paper venue
// over real sockets.
import JSONText
import LocalServers
import Testing

extension EndToEnd {
    @Suite struct ScenarioTests {
        private static let golden = "\(Program.root)/Tests/Scenarios/golden.json"

        /// What no cluster plays, with the reason. A scenario that is neither here nor passed is a failure.
        private static let notPlayed: Set<String> = [
            "G23", "G53",  // pure functions
            "G26", "G58",  // lists of requests to refuse
        ]

        struct Mode: Sendable, CustomTestStringConvertible {
            let options: [String]
            /// Nil: all of them.
            let ids: [String]?
            var testDescription: String { options.joined(separator: " ") }
        }

        /// Of those that have the clock to themselves two: a second for each restart.
        private static let sideBySide = [
            "G49", "G50s", "G52",  // positions that change elsewhere
            "G01", "G02", "G05", "G06", "G08", "G10", "G11s", "G12s", "G14", "G15", "G16s", "G18", "G20", "G25", "G27s",
            "G28", "G30s", "G31", "G32", "G33", "G34s", "G35", "G36", "G37", "G40", "G41", "G44", "G45s", "G46", "G65",
            "G42", "G64s", "G66", "G70", "G74", "G75", "G76", "G77", "G79", "G80", "G81", "G87", "G90",
        ]

        @Test(arguments: [
            Mode(options: [], ids: nil),
            Mode(options: ["--restart-every-step"], ids: Program.isThorough ? nil : sideBySide),
            Mode(options: ["--without-redis"], ids: Program.isThorough ? nil : Array(sideBySide.prefix(15))),
        ])
        func `every golden scenario comes out on a cluster as it is written`(_ mode: Mode) async throws {
            let folder = try LocalFiles.temporaryFolder("so-golden")
            defer { LocalFiles.removeTree(folder) }
            let file = "\(folder)/golden.json"
            let all = try #require(LocalFiles.text(Self.golden, last: 1 << 24))
            var document = try JSONValue(parsing: Array(all.utf8))
            if let ids = mode.ids {
                let chosen = try JSONField(document).elements("scenarios").filter {
                    ids.contains(try $0.string("id"))
                }
                document = ["doc": ["schemaVersion": 1], "scenarios": .array(chosen.map(\.value))]
            }
            try Program.write("\(document)", to: file)
            let run = try await Program.run(
                ["scenario", "run", "--cluster", "--json"] + mode.options + [file],
                seconds: Program.isThorough ? 1_800 : 300,
            )
            let lines = try run.documents
            for line in lines where line["pass"] == false { Issue.record("\(line)") }
            #expect(run.status == 0, "\(run.complaint)")
            #expect(lines.count == mode.ids?.count ?? 87)
            let left = lines.compactMap { $0["notRun"] == nil ? nil : $0["id"]?.text }
            #expect(mode.ids != nil ? left.isEmpty : Set(left) == Self.notPlayed)
        }
    }
}
