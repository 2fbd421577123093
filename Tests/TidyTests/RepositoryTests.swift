// Rules over what is tracked: where things stand and what must not leave a machine.

import Testing

private let isCheckout = Checkout.tracked != nil

@Suite(.enabled(if: isCheckout, "this is no git checkout"))
struct RepositoryTests {
    private var tracked: [String] { Checkout.tracked ?? [] }

    @Test func `the top level holds the fixed set`() {
        let fixed: Set = ["Package.swift", "Sources", "Tests", "docker", "scripts", "README.md", "LICENSE", "NOTICE"]
        let names = Set(tracked.map { String($0.prefix { $0 != "/" }) })
        #expect(names.filter { !fixed.contains($0) && !$0.hasPrefix(".") }.sorted() == [])
        #expect(names.contains("Sources"))
    }

    @Test func `nothing that a build makes is tracked`() {
        let strays = [
            ".o", ".swp", ".orig", ".rej", ".log", ".xml", ".DS_Store", "Package.resolved", "nohup.out", ".pyc",
        ]
        #expect(tracked.filter { path in strays.contains { path.hasSuffix($0) } } == [])
        // A target without code yet has one, alone in its folder.
        let leftOver = tracked.filter { path in
            let folder = path.dropLast("Placeholder.swift".count)
            return path.hasSuffix("/Placeholder.swift") && tracked.contains { $0 != path && $0.hasPrefix(folder) }
        }
        #expect(leftOver == [])
    }

    @Test func `no path of a machine and no registry is named`() throws {
        // Written so that this file does not name them itself.
        let folders = ["wo" + "rk", "ro" + "ot", "fa" + "rm"].joined(separator: "|")
        let hosts = ["deb" + "ian", "py" + "pi", "python" + "hosted"].joined(separator: "|")
        let pattern = try Pattern(
            "(?:^|[^A-Za-z0-9._/$}-])/(?:\(folders))/|https?://[a-z0-9.-]*(?:\(hosts))"
        )
        for file in tracked where try pattern.matches(Checkout.text(file)) {
            for line in try Checkout.lines(of: file) where pattern.matches(line.text) { Issue.record("\(line)") }
        }
    }
}
