// Rows as an operator wants them (INTERFACES.md 4.1): a table, or something that a program reads.
import ArgumentParser
import JSONText

struct OutputOptions: ParsableArguments {
    enum Format: String, ExpressibleByArgument, CaseIterable { case table, json, jsonl, wide, name, csv }

    @Option(
        name: [.customShort("o"), .long],
        help: "table, wide (every column), json, jsonl, csv, or name (ids only).",
    )
    var output: Format?
    @Flag(help: "The same as -o json.")
    var json = false
    @Flag(help: "No heading above a table or CSV.")
    var noHeaders = false

    var format: Format { output ?? (json ? .json : .table) }
}

/// Rows under collection. JSON has every field of a row, whatever the columns are.
struct Listing {
    struct Column {
        let key: String
        /// Shown in `wide` and CSV alone.
        var isWide = false
        init(_ key: String, isWide: Bool = false) {
            self.key = key
            self.isWide = isWide
        }
    }

    let columns: [Column]
    let options: OutputOptions
    private(set) var rows: [JSONObject] = []

    init(_ columns: [Column], _ options: OutputOptions) {
        self.columns = columns
        self.options = options
    }

    mutating func add(_ row: JSONObject) { rows.append(row) }

    /// What goes to standard output.
    var lines: [String] {
        switch options.format {
        case .json: [String(decoding: JSONValue.array(rows.map { .object($0) }).serialized(), as: UTF8.self)]
        case .jsonl: rows.map { "\(JSONValue.object($0))" }
        case .name: rows.map { text($0[columns[0].key]) }
        case .csv:
            (options.noHeaders ? [] : [columns.map(\.key)] + []).map(csv)
                + rows.map { row in csv(columns.map { text(row[$0.key]) }) }
        case .table: table(columns.filter { !$0.isWide })
        case .wide: table(columns)
        }
    }

    func tellAll() { for line in lines { show(line) } }

    private func table(_ columns: [Column]) -> [String] {
        let cells = rows.map { row in columns.map { String(text(row[$0.key]).prefix(100)) } }
        let lines = Table(header: columns.map(\.key), rows: cells).lines
        return options.noHeaders ? Array(lines.dropFirst(2)) : lines
    }

    private func text(_ value: JSONValue?) -> String {
        switch value {
        case nil, .null: ""
        case .string(let text): text
        case .bool(let isTrue): isTrue ? "yes" : ""
        case .number(let text): text
        case .array, .object: value.map { "\($0)" } ?? ""
        }
    }

    /// RFC 4180.
    private func csv(_ cells: [String]) -> String {
        cells.map { cell in
            guard cell.contains(where: { $0 == "," || $0 == "\"" || $0.isNewline }) else { return cell }
            return "\"" + cell.split(separator: "\"", omittingEmptySubsequences: false).joined(separator: "\"\"") + "\""
        }.joined(separator: ",")
    }
}
