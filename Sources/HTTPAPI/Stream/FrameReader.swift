// RFC 6455 on the server's side, one frame after the other: fragments, control frames between them, limits, UTF-8.

internal import NIOCore
internal import NIOWebSocket

/// Puts a client's frames together.
struct FrameReader {
    enum Action: Hashable {
        case none
        case message([UInt8])
        case ping([UInt8])
        case pong
        /// The peer closes; nil: without a code.
        case close(UInt16?)
        /// The connection has to be closed with this code.
        case fail(UInt16)
    }

    /// Bytes that a message may have, fragments together.
    let limit: Int
    /// Nil: no message is under way.
    private var fragments: [UInt8]?

    init(limit: Int) {
        self.limit = limit
    }

    mutating func read(_ frame: WebSocketFrame) -> Action {
        guard frame.maskKey != nil, !frame.rsv1, !frame.rsv2, !frame.rsv3 else { return .fail(1002) }
        let payload = Array(frame.unmaskedData.readableBytesView)
        switch frame.opcode {
        case .ping, .pong, .connectionClose:
            guard frame.fin, payload.count <= 125 else { return .fail(1002) }
            switch frame.opcode {
            case .ping: return .ping(payload)
            case .pong: return .pong
            default: return Self.close(payload)
            }
        case .text:
            guard fragments == nil else { return .fail(1002) }
            return append(payload, to: [], isLast: frame.fin)
        case .continuation:
            guard let begun = fragments else { return .fail(1002) }
            return append(payload, to: begun, isLast: frame.fin)
        case .binary: return .fail(1003)
        default: return .fail(1002)
        }
    }

    private mutating func append(_ payload: [UInt8], to begun: [UInt8], isLast: Bool) -> Action {
        guard begun.count + payload.count <= limit else { return .fail(1009) }
        guard isLast else {
            fragments = begun + payload
            return .none
        }
        fragments = nil
        let message = begun + payload
        return String(validating: message, as: UTF8.self) == nil ? .fail(1007) : .message(message)
    }

    private static func close(_ payload: [UInt8]) -> Action {
        guard !payload.isEmpty else { return .close(nil) }
        guard payload.count >= 2 else { return .fail(1002) }
        let code = UInt16(payload[0]) << 8 | UInt16(payload[1])
        guard String(validating: payload[2...], as: UTF8.self) != nil else { return .fail(1007) }
        switch code {
        case 1000...1003, 1007...1014, 3000...4999: return .close(code)
        default: return .fail(1002)
        }
    }
}
