// Bytes of a file, inflated on the way when they begin like gzip.

internal import CZlib

#if canImport(Glibc)
internal import Glibc
#else
internal import Darwin
#endif

/// Reads a plain or gzip file front to back.
final class InflatingSource {
    private static let chunk = 256 << 10

    private let path: String
    private let descriptor: Int32
    /// On the heap: zlib keeps its address. Nil for a plain file.
    private var stream: UnsafeMutablePointer<z_stream>?
    private var input: [UInt8] = []
    private var inputStart = 0
    private var isAtEnd = false
    /// Inside a gzip member: the end of the file would cut it.
    private var isInMember = false

    init(path: String) throws(TickFileError) {
        self.path = path
        descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw TickFileError(file: path, line: nil, reason: "cannot be opened") }
        try fill()
        guard input.starts(with: [0x1f, 0x8b]) else { return }
        let stream = UnsafeMutablePointer<z_stream>.allocate(capacity: 1)
        stream.initialize(to: z_stream())
        // 15 bits of window, 16 more for the gzip format.
        let code = inflateInit2_(stream, 15 + 16, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
        precondition(code == Z_OK, "zlib refused to start: \(code)")
        self.stream = stream
    }

    deinit {
        if let stream {
            inflateEnd(stream)
            stream.deallocate()
        }
        close(descriptor)
    }

    /// Appends the next bytes; false at the end of the file.
    func append(to output: inout [UInt8], line: Int64) throws(TickFileError) -> Bool {
        guard let stream else {
            if inputStart == input.count { try fill() }
            guard inputStart < input.count else { return false }
            output.append(contentsOf: input[inputStart...])
            inputStart = input.count
            return true
        }
        while true {
            if inputStart == input.count { try fill() }
            if inputStart == input.count {
                guard isInMember else { return false }
                throw TickFileError(file: path, line: line + 1, reason: "the compressed data end too early")
            }
            isInMember = true
            let room = Self.chunk
            var code: Int32 = Z_OK
            let inflated = [UInt8](unsafeUninitializedCapacity: room) { buffer, count in
                input.withUnsafeMutableBufferPointer { bytes in
                    guard let base = bytes.baseAddress else { return }
                    stream.pointee.next_in = base + inputStart
                    stream.pointee.avail_in = UInt32(bytes.count - inputStart)
                    stream.pointee.next_out = buffer.baseAddress
                    stream.pointee.avail_out = UInt32(room)
                    code = inflate(stream, Z_NO_FLUSH)
                    inputStart = bytes.count - Int(stream.pointee.avail_in)
                }
                count = room - Int(stream.pointee.avail_out)
            }
            guard code == Z_OK || code == Z_STREAM_END || code == Z_BUF_ERROR else {
                throw TickFileError(file: path, line: line + 1, reason: "the compressed data are damaged")
            }
            if code == Z_STREAM_END {
                // Another member may follow.
                isInMember = false
                inflateReset(stream)
            }
            if !inflated.isEmpty {
                output.append(contentsOf: inflated)
                return true
            }
        }
    }

    /// Replaces the used input with the next piece of the file; nothing at its end.
    private func fill() throws(TickFileError) {
        inputStart = 0
        input.removeAll(keepingCapacity: true)
        guard !isAtEnd else { return }
        let descriptor = self.descriptor
        var failed = false
        input = [UInt8](unsafeUninitializedCapacity: Self.chunk) { buffer, count in
            var result: Int
            repeat { result = read(descriptor, buffer.baseAddress, buffer.count) } while result < 0 && errno == EINTR
            failed = result < 0
            count = max(result, 0)
        }
        guard !failed else { throw TickFileError(file: path, line: nil, reason: "cannot be read") }
        if input.isEmpty { isAtEnd = true }
    }
}
