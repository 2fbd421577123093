// WebSocket frames of a client: limits hold, a message is whole UTF-8, nothing comes after the end (RFC 6455).
import NIOCore
import NIOWebSocket

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let bytes = Array(UnsafeBufferPointer(start: start, count: count))
    var reader = FrameReader(limit: 256)
    var sent: [UInt8]?
    var index = 0
    // Each frame: its first byte, a length, a payload.
    while index + 2 <= bytes.count {
        let head = bytes[index]
        let length = Int(bytes[index + 1] & 0x7f)
        let isMasked = bytes[index + 1] & 0x80 == 0
        let payload = Array(bytes[(index + 2)..<min(bytes.count, index + 2 + length)])
        index += 2 + payload.count
        let frame = WebSocketFrame(head: head, isMasked: isMasked, payload: payload)
        switch reader.read(frame) {
        case .none:
            precondition(head & 0x80 == 0 && isMasked && head & 0x70 == 0)
            sent = (sent ?? []) + payload
        case .message(let message):
            precondition(message == (sent ?? []) + payload && message.count <= 256)
            precondition(String(validating: message, as: UTF8.self) != nil)
            sent = nil
        case .ping(let data): precondition(data == payload && data.count <= 125)
        case .pong: precondition(head & 15 == 5)
        case .close(let code):
            precondition(code.map { $0 >= 1000 && $0 < 5000 } ?? payload.isEmpty)
            return 0
        case .fail(let code):
            precondition([1002, 1003, 1007, 1009].contains(code))
            return 0
        }
    }
    return 0
}
