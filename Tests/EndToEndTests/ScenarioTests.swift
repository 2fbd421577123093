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

        private static func chosen(_ ids: [String], of document: JSONValue) throws -> JSONValue {
            let chosen = try JSONField(document).elements("scenarios").filter { ids.contains(try $0.string("id")) }
            return ["doc": ["schemaVersion": 1], "scenarios": .array(chosen.map(\.value))]
        }

        private func play(
            _ document: JSONValue,
            _ file: String,
            _ mode: Mode,
        ) async throws -> (status: Int, lines: [JSONValue], complaint: String) {
            try Program.write("\(document)", to: file)
            let run = try await Program.run(
                ["scenario", "run", "--cluster", "--json"] + mode.options + [file],
                seconds: Program.isThorough ? 1_800 : 300,
            )
            return (run.status, try run.documents, run.complaint)
        }

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
                document = try Self.chosen(ids, of: document)
            }
            var (status, lines, complaint) = try await play(document, file, mode)
            // An attempt that a machine in need did not carry through in time ends as the rules say, and another one follows:
            // not what is written, and no fault. Those are played again, alone.
            let slow = lines.filter { $0["pass"] == false }.compactMap { $0["id"]?.text }.filter { id in
                complaint.split(separator: "\n").contains { line in
                    line.hasPrefix("\(id) ")
                        && ["UNKNOWN", "NOT_SENT", "ABSENT"].contains { line.contains("\"\($0)\"") }
                }
            }
            if !slow.isEmpty {
                let again = try await play(Self.chosen(slow, of: document), file, mode)
                status = again.status
                complaint = again.complaint
                lines = lines.filter { line in !slow.contains { line["id"]?.text == $0 } } + again.lines
            }
            let differences = lines.filter { $0["pass"] == false }
            for line in differences { Issue.record("\(line)\n\(complaint)") }
            #expect(status == 0 || !differences.isEmpty, "\(complaint)")
            #expect(lines.count == mode.ids?.count ?? 87)
            let left = lines.compactMap { $0["notRun"] == nil ? nil : $0["id"]?.text }
            #expect(mode.ids != nil ? left.isEmpty : Set(left) == Self.notPlayed)
        }
    }
}
