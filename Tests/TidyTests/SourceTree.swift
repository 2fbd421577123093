// The checkout as lines of text, for rules that the compiler does not know.

import Foundation
import Testing

/// A place in the checkout, as editors take it: `path:line`.
struct Line: Sendable, CustomStringConvertible {
    let path: String
    let number: Int
    let text: String
    /// `tidy-ok: reason` stands on this line or alone on the one before.
    let isExcused: Bool

    var description: String { "\(path):\(number): \(text.trimmingCharacters(in: .whitespaces))" }

    /// The text without its comment.
    var code: Substring {
        guard let comment = text.range(of: "//") else { return text[...] }
        // `http://` is no comment.
        let isAddress = comment.lowerBound > text.startIndex && text[text.index(before: comment.lowerBound)] == ":"
        return isAddress ? text[...] : text[..<comment.lowerBound]
    }
}

/// A rule that a regular expression can see.
struct Rule: Sendable, CustomTestStringConvertible {
    let reason: String
    /// Folders or files below the checkout; each must hold something.
    let places: [String]
    /// Beginnings or ends of paths.
    let except: [String]
    let pattern: String
    /// What on the same line makes it right.
    let unless: String?

    init(_ reason: String, in places: [String], except: [String] = [], forbids pattern: String, unless: String? = nil) {
        self.reason = reason
        self.places = places
        self.except = except
        self.pattern = pattern
        self.unless = unless
    }

    var testDescription: String { reason }

    /// `path:line: text` of each place that breaks the rule.
    func violations() throws -> [String] {
        let pattern = try Pattern(pattern)
        var found: [String] = []
        for path in try places.flatMap({ try Checkout.files(below: $0) }) {
            guard !except.contains(where: { path.hasPrefix($0) || path.hasSuffix($0) }),
                pattern.matches(try Checkout.text(path))
            else { continue }
            for line in try Checkout.lines(of: path) where !line.isExcused && pattern.matches(String(line.code)) {
                if unless.map({ line.text.contains($0) }) ?? false { continue }
                found.append(line.description)
            }
        }
        return found
    }
}

/// A regular expression of which only whether it matches is asked. Foundation's: 50 times faster in a debug build.
struct Pattern {
    private let expression: NSRegularExpression

    init(_ text: String) throws {
        expression = try NSRegularExpression(pattern: text, options: .anchorsMatchLines)
    }

    func matches(_ text: String) -> Bool { !groups(text, limit: 1).isEmpty }

    /// Per match what group 1 (or the whole match) holds.
    func groups(_ text: String, limit: Int = .max) -> [String] {
        var found: [String] = []
        expression.enumerateMatches(in: text, range: NSRange(text.startIndex..., in: text)) { match, _, stop in
            guard let match,
                let range = Range(match.range(at: min(1, match.numberOfRanges - 1)), in: text)
                    ?? Range(match.range, in: text)
            else { return }
            found.append(String(text[range]))
            if found.count == limit { stop.pointee = true }
        }
        return found
    }
}

struct EmptyPlace: Error, CustomStringConvertible {
    let description: String
}

enum Checkout {
    static let root: String = "/" + #filePath.split(separator: "/").dropLast(3).joined(separator: "/")

    static func text(_ path: String) throws -> String {
        String(decoding: try Data(contentsOf: URL(filePath: "\(root)/\(path)")), as: UTF8.self)
    }

    /// Paths of the files below `place` with one of the extensions, ascending; `place` may be a file.
    static func files(below place: String, _ extensions: [String] = ["swift"]) throws -> [String] {
        if extensions.contains(where: { place.hasSuffix(".\($0)") }) { return [place] }
        let names = FileManager.default.enumerator(atPath: "\(root)/\(place)")?.compactMap { $0 as? String } ?? []
        let found = names.filter { name in extensions.contains { name.hasSuffix(".\($0)") } }.sorted()
        guard !found.isEmpty else { throw EmptyPlace(description: "\(place) holds no file: the rule checks nothing") }
        return found.map { "\(place)/\($0)" }
    }

    static func lines(of path: String) throws -> [Line] {
        var excused = false
        return try text(path).split(separator: "\n", omittingEmptySubsequences: false).enumerated().map { index, text in
            let isExcused = excused || text.contains("tidy-ok: ")
            excused = text.drop { $0 == " " }.hasPrefix("// tidy-ok: ")
            return Line(path: path, number: index + 1, text: String(text), isExcused: isExcused)
        }
    }

    /// The lines that match, in all files below the places.
    static func lines(below places: [String], matching pattern: Pattern) throws -> [Line] {
        try places.flatMap { try files(below: $0) }.flatMap { path in
            try pattern.matches(text(path)) ? lines(of: path).filter { pattern.matches($0.text) } : []
        }
    }

    /// Paths in git's index; nil where there is no git or no checkout of it.
    static let tracked: [String]? = {
        let git = Process()
        git.executableURL = URL(filePath: "/usr/bin/env")
        git.arguments = ["git", "-c", "safe.directory=*", "-C", root, "ls-files", "-z"]
        let output = Pipe()
        git.standardOutput = output
        git.standardError = FileHandle.nullDevice
        do { try git.run() } catch { return nil }
        let bytes = output.fileHandleForReading.readDataToEndOfFile()
        git.waitUntilExit()
        guard git.terminationStatus == 0, !bytes.isEmpty else { return nil }
        return String(decoding: bytes, as: UTF8.self).split(separator: "\0").map(String.init)
    }()
}
