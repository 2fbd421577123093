// SQL lives in files (folder SQL); this finds the statements in them.

internal import PostgresClient

/// The statements of one file, parted by lines `-- name: <name>`.
struct StatementFile: Sendable {
    private let prefix: String
    private let statements: [String: Statement]

    /// - Parameter prefix: makes the names unique among prepared statements.
    init(_ bytes: [UInt8], prefix: String) {
        self.prefix = prefix
        var statements: [String: Statement] = [:]
        var name: String?
        var lines: [Substring] = []
        func end() {
            guard let name else { return }
            let full = "\(prefix).\(name)"
            statements[name] = Statement(name: full, sql: lines.joined(separator: "\n"))
        }
        for line in String(decoding: bytes, as: UTF8.self).split(separator: "\n", omittingEmptySubsequences: false) {
            if line.hasPrefix("-- name: ") {
                end()
                name = String(line.dropFirst("-- name: ".count))
                lines = []
            } else if !line.hasPrefix("--"), !line.isEmpty {
                lines.append(line)
            }
        }
        end()
        self.statements = statements
    }

    /// Traps when the file has no such statement: files and program are built together.
    subscript(_ name: String) -> Statement {
        guard let statement = statements[name] else { preconditionFailure("no statement \(prefix).\(name)") }
        return statement
    }
}

/// The part of a template's text that a use needs, with numbered parameters.
enum SQLTemplate {
    /// Leaves out the lines between `--{ part` and `--}` of parts that are not in `parts`, comments, and gives every
    /// `:name` a number in order of appearance. `::type` is no parameter.
    static func assemble(_ bytes: [UInt8], parts: Set<String>) -> (sql: String, parameters: [String]) {
        var isIn: [Bool] = []
        var kept: [UInt8] = []
        for line in bytes.split(separator: UInt8(ascii: "\n")) {
            let text = String(decoding: line, as: UTF8.self)
            if text.hasPrefix("--{ ") {
                isIn.append(parts.contains(String(text.dropFirst(4))))
            } else if text.hasPrefix("--}") {
                precondition(!isIn.isEmpty, "a part ends that did not begin")
                isIn.removeLast()
            } else if !isIn.contains(false), text.drop(while: { $0 == " " }).hasPrefix("--") == false {
                kept += line
                kept.append(UInt8(ascii: "\n"))
            }
        }
        precondition(isIn.isEmpty, "a part does not end")

        var sql: [UInt8] = []
        var names: [String] = []
        var position = 0
        while position < kept.count {
            let byte = kept[position]
            position += 1
            sql.append(byte)
            guard byte == UInt8(ascii: ":"), position < kept.count else { continue }
            if kept[position] == UInt8(ascii: ":") {
                sql.append(byte)
                position += 1
                continue
            }
            let name = kept[position...].prefix {
                ($0 | 0x20) >= UInt8(ascii: "a") && ($0 | 0x20) <= UInt8(ascii: "z")
            }
            guard !name.isEmpty else { continue }
            position += name.count
            let text = String(decoding: name, as: UTF8.self)
            let number = names.firstIndex(of: text) ?? names.count
            if number == names.count { names.append(text) }
            sql.removeLast()
            sql += Array("$\(number + 1)".utf8)
        }
        return (String(decoding: sql, as: UTF8.self), names)
    }
}
