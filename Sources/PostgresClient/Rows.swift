// Results. A `Rows` is libpq's own result behind a reference: no cell is copied before it is asked for, and the memory
// is freed with the last copy. libpq never changes a result after handing it out, so any thread may read it.

internal import CPostgres

/// Where cells lie: a result of libpq, or a piece of a COPY stream.
///
/// `@unchecked`: nothing changes after `init`, and only this object frees the memory.
final class CellSource: @unchecked Sendable {
    private let result: OpaquePointer?
    private let copied: UnsafeMutableRawBufferPointer
    /// Per cell of the copied rows where it starts in `copied`, and its length, -1 for null.
    private let cells: [(start: Int32, length: Int32)]
    private let columnCount: Int

    /// Takes over `result`.
    init(result: OpaquePointer?) {
        self.result = result
        copied = UnsafeMutableRawBufferPointer(start: nil, count: 0)
        cells = []
        columnCount = 0
    }

    /// Takes over `bytes`.
    init(bytes: UnsafeMutableRawBufferPointer, cells: [(start: Int32, length: Int32)], columnCount: Int) {
        result = nil
        copied = bytes
        self.cells = cells
        self.columnCount = columnCount
    }

    deinit {
        PQclear(result)
        copied.deallocate()
    }

    /// nil for null. Valid as long as this object lives.
    func cell(row: Int, column: Int) -> Cell? {
        if let result {
            let (row, column) = (Int32(row), Int32(column))
            guard PQgetisnull(result, row, column) == 0, let start = PQgetvalue(result, row, column) else { return nil }
            let length = Int(PQgetlength(result, row, column))
            return Cell(bytes: UnsafeRawBufferPointer(start: start, count: length), type: PQftype(result, column))
        }
        let place = cells[row * columnCount + column]
        guard place.length >= 0 else { return nil }
        let range = Int(place.start)..<Int(place.start + place.length)
        return Cell(bytes: UnsafeRawBufferPointer(rebasing: copied[range]), type: 0)
    }

    /// OID of the column's type, 0 when unknown.
    func type(_ column: Int) -> UInt32 { result == nil ? 0 : PQftype(result, Int32(column)) }
}

/// What one statement returned.
public struct Rows: Sendable {
    private let source: CellSource
    public let count: Int
    public let columnCount: Int
    /// Rows inserted, updated, deleted or selected.
    public let affected: Int

    /// Takes over `result`.
    init(_ result: OpaquePointer?) {
        source = CellSource(result: result)
        count = Int(PQntuples(result))
        columnCount = Int(PQnfields(result))
        affected = PQcmdTuples(result).flatMap { Int(String(cString: $0)) } ?? 0
    }

    /// A piece of a COPY.
    init(source: CellSource, count: Int, columnCount: Int) {
        self.source = source
        self.count = count
        self.columnCount = columnCount
        affected = count
    }
}

extension Rows: RandomAccessCollection {
    public var startIndex: Int { 0 }
    public var endIndex: Int { count }

    public subscript(position: Int) -> Row {
        precondition(position >= 0 && position < count, "row out of range")
        return Row(source: source, row: position, columnCount: columnCount)
    }
}

/// One row. Columns are counted from 0.
///
/// Each accessor throws when the cell is null or of another type; the `OrNil` forms answer nil for null. O(1) and the
/// size of the value.
public struct Row: Sendable {
    fileprivate let source: CellSource
    fileprivate let row: Int
    public let columnCount: Int

    private func cell(_ column: Int) -> Cell? {
        precondition(column >= 0 && column < columnCount, "column out of range")
        return source.cell(row: row, column: column)
    }

    private func mismatch(_ column: Int, _ expected: RowError.Expected) -> RowError {
        RowError(column: column, expected: expected, type: source.type(column), isNull: isNull(column))
    }

    public func isNull(_ column: Int) -> Bool { cell(column) == nil }

    /// int2, int4, int8.
    public func int64(_ column: Int) throws(RowError) -> Int64 {
        guard let value = cell(column)?.int64 else { throw mismatch(column, .integer) }
        return value
    }

    public func int64OrNil(_ column: Int) throws(RowError) -> Int64? {
        isNull(column) ? nil : try int64(column)
    }

    /// text, varchar, json, jsonb, enumerations.
    public func string(_ column: Int) throws(RowError) -> String {
        guard let value = cell(column)?.string else { throw mismatch(column, .text) }
        return value
    }

    public func stringOrNil(_ column: Int) throws(RowError) -> String? {
        isNull(column) ? nil : try string(column)
    }

    public func bool(_ column: Int) throws(RowError) -> Bool {
        guard let value = cell(column)?.bool else { throw mismatch(column, .boolean) }
        return value
    }

    public func boolOrNil(_ column: Int) throws(RowError) -> Bool? {
        isNull(column) ? nil : try bool(column)
    }

    /// The raw bytes: of bytea its content, of any other type its binary form.
    public func bytes(_ column: Int) throws(RowError) -> [UInt8] {
        guard let value = cell(column).map({ [UInt8]($0.bytes) }) else { throw mismatch(column, .bytes) }
        return value
    }

    /// Whether the cell has this binary form: for values that repeat from row to row, without a copy.
    public func isEqual(_ column: Int, to bytes: [UInt8]) -> Bool {
        guard let cell = cell(column), cell.bytes.count == bytes.count else { return false }
        return cell.bytes.elementsEqual(bytes)
    }

    public func bytesOrNil(_ column: Int) throws(RowError) -> [UInt8]? {
        isNull(column) ? nil : try bytes(column)
    }

    public func uuid(_ column: Int) throws(RowError) -> (high: UInt64, low: UInt64) {
        guard let value = cell(column)?.uuid else { throw mismatch(column, .uuid) }
        return value
    }

    public func uuidOrNil(_ column: Int) throws(RowError) -> (high: UInt64, low: UInt64)? {
        isNull(column) ? nil : try uuid(column)
    }

    /// numeric as plain decimal text with the column's scale; not NaN, at most 38 digits.
    public func numeric(_ column: Int) throws(RowError) -> String {
        guard let value = cell(column)?.numeric else { throw mismatch(column, .numeric) }
        return value
    }

    public func numericOrNil(_ column: Int) throws(RowError) -> String? {
        isNull(column) ? nil : try numeric(column)
    }

    /// numeric as `mantissa` / 10^`scale`; not NaN, at most 38 digits.
    public func decimal(_ column: Int) throws(RowError) -> (mantissa: Int128, scale: Int) {
        guard let value = cell(column)?.decimal else { throw mismatch(column, .numeric) }
        return value
    }

    public func decimalOrNil(_ column: Int) throws(RowError) -> (mantissa: Int128, scale: Int)? {
        isNull(column) ? nil : try decimal(column)
    }

    /// timestamptz in microseconds since 1970-01-01 UTC; not infinite.
    public func timestamp(_ column: Int) throws(RowError) -> Int64 {
        guard let value = cell(column)?.timestamp else { throw mismatch(column, .timestamp) }
        return value
    }

    public func timestampOrNil(_ column: Int) throws(RowError) -> Int64? {
        isNull(column) ? nil : try timestamp(column)
    }

    /// int2[], int4[], int8[] of one dimension, without nulls.
    public func int64Array(_ column: Int) throws(RowError) -> [Int64] {
        guard let value = cell(column)?.int64Array else { throw mismatch(column, .integerArray) }
        return value
    }

    public func int64ArrayOrNil(_ column: Int) throws(RowError) -> [Int64]? {
        isNull(column) ? nil : try int64Array(column)
    }

    /// An array of text of one dimension.
    public func stringArray(_ column: Int) throws(RowError) -> [String?] {
        guard let value = cell(column)?.stringArray else { throw mismatch(column, .textArray) }
        return value
    }

    public func stringArrayOrNil(_ column: Int) throws(RowError) -> [String?]? {
        isNull(column) ? nil : try stringArray(column)
    }
}
