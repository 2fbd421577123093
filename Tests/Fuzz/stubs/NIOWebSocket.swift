// As much of NIOWebSocket as FrameReader.swift sees.
public import NIOCore

public enum WebSocketOpcode: Hashable { case continuation, text, binary, connectionClose, ping, pong, other }

public struct WebSocketFrame {
    public var fin: Bool
    public var rsv1: Bool
    public var rsv2: Bool
    public var rsv3: Bool
    public var opcode: WebSocketOpcode
    public var maskKey: UInt32?
    public var unmaskedData: Payload

    public init(head: UInt8, isMasked: Bool, payload: [UInt8]) {
        fin = head & 0x80 != 0
        rsv1 = head & 0x40 != 0
        rsv2 = head & 0x20 != 0
        rsv3 = head & 0x10 != 0
        let opcodes: [WebSocketOpcode] = [.continuation, .text, .binary, .connectionClose, .ping, .pong, .other]
        opcode = opcodes[min(Int(head & 15), 6)]
        maskKey = isMasked ? 1 : nil
        unmaskedData = Payload(payload)
    }
}
