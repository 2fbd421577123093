// As much of NIOCore as FrameReader.swift sees: the fuzzed code is ours, NIO's decoder is not.
public struct Payload {
    public let readableBytesView: [UInt8]
    public init(_ bytes: [UInt8]) { readableBytesView = bytes }
}
