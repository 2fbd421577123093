// Commands as bytes. All arguments of a batch lie in one buffer, so a thousand arguments are a handful of allocations
// and not a thousand strings.

/// Commands that are sent together. The replies come in the order of the commands; each may be an error of its own.
///
/// Not a transaction: other clients' commands may run between two of them.
public struct RedisBatch: Sendable {
    /// A command that needs a script on the server.
    package struct ScriptUse: Sendable {
        package let command: Int
        package let script: RedisScript
    }

    /// All arguments, end to end.
    package private(set) var bytes: [UInt8] = []
    /// Where each argument ends in `bytes`.
    package private(set) var argumentEnds: [Int] = []
    /// Where the arguments of each command begin in `argumentEnds`.
    package private(set) var commandStarts: [Int] = []
    package private(set) var scripts: [ScriptUse] = []

    public init() {}

    public init(_ command: RedisCommand) { self = command.batch }

    /// Makes room, which saves regrowing; the batch grows beyond it if needed.
    public mutating func reserve(commands: Int, arguments: Int, bytes count: Int) {
        commandStarts.reserveCapacity(commands)
        argumentEnds.reserveCapacity(arguments)
        bytes.reserveCapacity(count)
    }

    /// The number of commands.
    public var count: Int { commandStarts.count }
    public var isEmpty: Bool { commandStarts.isEmpty }
    /// The size of all arguments in bytes.
    public var byteCount: Int { bytes.count }

    /// Starts the next command. Arguments follow with `append`.
    public mutating func begin(_ name: String) {
        commandStarts.append(argumentEnds.count)
        append(name)
    }

    /// Starts a call of `script` on `keyCount` keys. The keys follow with `append`, then the arguments.
    ///
    /// Should the server not know the script, it is loaded and the call repeated once, after the rest of the batch.
    public mutating func begin(_ script: RedisScript, keyCount: Int) {
        scripts.append(ScriptUse(command: count, script: script))
        begin("EVALSHA")
        append(script.digest)
        append(keyCount)
    }

    public mutating func append(_ text: String) {
        bytes.append(contentsOf: text.utf8)
        argumentEnds.append(bytes.count)
    }

    public mutating func append(_ number: Int) { append(Int64(number)) }

    public mutating func append(_ number: Int64) {
        appendDecimal(number)
        argumentEnds.append(bytes.count)
    }

    public mutating func append(bytes argument: [UInt8]) {
        bytes.append(contentsOf: argument)
        argumentEnds.append(bytes.count)
    }

    public mutating func append(bytes argument: ArraySlice<UInt8>) {
        bytes.append(contentsOf: argument)
        argumentEnds.append(bytes.count)
    }

    public mutating func append(bytes argument: UnsafeRawBufferPointer) {
        bytes.append(contentsOf: argument)
        argumentEnds.append(bytes.count)
    }

    /// Adds a finished command.
    public mutating func add(_ command: RedisCommand) { add(command.batch, commands: 0..<command.batch.count) }

    /// Adds copies of some commands of another batch.
    package mutating func add(_ other: RedisBatch, commands: Range<Int>) {
        for command in commands {
            if let use = other.scripts.first(where: { $0.command == command }) {
                scripts.append(ScriptUse(command: count, script: use.script))
            }
            commandStarts.append(argumentEnds.count)
            let arguments = other.arguments(of: command)
            let from = other.start(ofArgument: arguments.lowerBound)
            let shift = bytes.count - from
            bytes.append(contentsOf: other.bytes[from..<other.argumentEnds[arguments.upperBound - 1]])
            for argument in arguments { argumentEnds.append(other.argumentEnds[argument] + shift) }
        }
    }

    /// The positions of a command's arguments, its name included.
    package func arguments(of command: Int) -> Range<Int> {
        let end = command + 1 < commandStarts.count ? commandStarts[command + 1] : argumentEnds.count
        return commandStarts[command]..<end
    }

    package func start(ofArgument index: Int) -> Int { index == 0 ? 0 : argumentEnds[index - 1] }

    private mutating func appendDecimal(_ number: Int64) {
        if number < 0 { bytes.append(UInt8(ascii: "-")) }
        var rest = number.magnitude
        let start = bytes.count
        repeat {
            bytes.append(UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest % 10))
            rest /= 10
        } while rest > 0
        bytes[start...].reverse()
    }
}

/// One command, built argument by argument.
public struct RedisCommand: Sendable {
    package private(set) var batch = RedisBatch()

    /// - Parameter name: the command's name; `words` are its first arguments.
    public init(_ name: String, _ words: String...) {
        batch.begin(name)
        for word in words { batch.append(word) }
    }

    /// A call of `script`; its arguments follow with `append`.
    public init(_ script: RedisScript, keys: [String]) {
        batch.begin(script, keyCount: keys.count)
        for key in keys { batch.append(key) }
    }

    public mutating func append(_ text: String) { batch.append(text) }
    public mutating func append(_ number: Int) { batch.append(number) }
    public mutating func append(_ number: Int64) { batch.append(number) }
    public mutating func append(bytes: [UInt8]) { batch.append(bytes: bytes) }
    public mutating func append(bytes: ArraySlice<UInt8>) { batch.append(bytes: bytes) }
    public mutating func append(bytes: UnsafeRawBufferPointer) { batch.append(bytes: bytes) }
}
