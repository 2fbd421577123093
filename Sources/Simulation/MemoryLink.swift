// The way of a call to a server in memory and back: where a simulation delays calls, loses them, or loses their answers.
//
// Most calls of a simulation are polls that nothing happens to: a half of the way is decided without a suspension, and
// only what takes time is awaited.

/// What is left of one half of a call's way.
package enum MemoryPassage<Failure: Error>: Sendable {
    /// Nothing: the call is there.
    case clear
    /// This has to be awaited.
    case takes(@Sendable () async throws(Failure) -> Void)
}

/// One process's connection. What `send` throws keeps the call from taking effect; what `answer` throws comes after it.
package struct MemoryLink<Failure: Error>: Sendable {
    package typealias Half = @Sendable (StaticString) throws(Failure) -> MemoryPassage<Failure>
    package typealias Step = @Sendable (StaticString) async throws(Failure) -> Void
    private let send: Half?
    private let answer: Half?

    /// - Parameters: asked with the name of the call, before and after it takes effect.
    init(deciding send: @escaping Half, _ answer: @escaping Half) {
        self.send = send
        self.answer = answer
    }

    /// - Parameters: awaited with the name of the call, before and after it takes effect.
    package init(send: @escaping Step, answer: @escaping Step) {
        self.send = { call in .takes { () async throws(Failure) in try await send(call) } }
        self.answer = { call in .takes { () async throws(Failure) in try await answer(call) } }
    }

    private init() {
        send = nil
        answer = nil
    }

    /// Nothing takes time, nothing is lost.
    package static var perfect: MemoryLink { MemoryLink() }

    /// The way there.
    func go(_ call: StaticString) async throws(Failure) {
        guard let send else { return }
        switch try send(call) {
        case .clear: break
        case .takes(let rest): try await rest()
        }
    }

    /// The way back.
    func comeBack(_ call: StaticString) async throws(Failure) {
        guard let answer else { return }
        switch try answer(call) {
        case .clear: break
        case .takes(let rest): try await rest()
        }
    }

    func carry<Value>(
        _ call: StaticString,
        _ body: () throws(Failure) -> Value,
    ) async throws(Failure) -> Value {
        if let send, case .takes(let rest) = try send(call) { try await rest() }
        let value = try body()
        if let answer, case .takes(let rest) = try answer(call) { try await rest() }
        return value
    }
}
