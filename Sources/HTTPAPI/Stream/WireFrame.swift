// Frames of RFC 6455 as a server sends them: never masked, never in fragments, so an event's frame is the same bytes for
// everybody who listens, and is made once.

internal import NIOCore
internal import NIOWebSocket

enum WireFrame {
    /// A header, then the payload as it is.
    static func make(_ opcode: WebSocketOpcode, _ payload: some Collection<UInt8>) -> ByteBuffer {
        let size = payload.count
        var buffer = ByteBuffer()
        buffer.reserveCapacity(size + 10)
        buffer.writeInteger(0x80 | UInt8(webSocketOpcode: opcode))
        switch size {
        case ..<126: buffer.writeInteger(UInt8(size))
        case ..<65_536:
            buffer.writeInteger(UInt8(126))
            buffer.writeInteger(UInt16(size))
        default:
            buffer.writeInteger(UInt8(127))
            buffer.writeInteger(UInt64(size))
        }
        buffer.writeBytes(payload)
        return buffer
    }

    static func text(_ payload: some Collection<UInt8>) -> ByteBuffer { make(.text, payload) }

    static func close(_ code: UInt16) -> ByteBuffer {
        make(.connectionClose, [UInt8(truncatingIfNeeded: code >> 8), UInt8(truncatingIfNeeded: code)])
    }
}
