// A bounded mailbox between tasks: many senders, one receiver, in order.
internal import OwnerThread

/// Senders wait while `capacity` messages wait; the receiver waits while none does.
final class Inbox<Message: Sendable>: Sendable {
    private struct State {
        var waiting: [Message] = []
        var receiver: CheckedContinuation<Message?, Never>?
        var blocked: [CheckedContinuation<Void, Never>] = []
        var isFinished = false
    }

    private let capacity: Int
    private let state = Locked(State())

    init(capacity: Int) {
        self.capacity = capacity
    }

    func send(_ message: Message) async {
        while true {
            var mustWait = false
            let receiver = state.withLock { state -> CheckedContinuation<Message?, Never>? in
                if state.isFinished { return nil }
                if let receiver = state.receiver {
                    state.receiver = nil
                    return receiver
                }
                if state.waiting.count >= capacity {
                    mustWait = true
                } else {
                    state.waiting.append(message)
                }
                return nil
            }
            if let receiver {
                receiver.resume(returning: message)
                return
            }
            guard mustWait else { return }
            await withCheckedContinuation { continuation in
                let isFree = state.withLock { state -> Bool in
                    if state.isFinished || state.waiting.count < capacity { return true }
                    state.blocked.append(continuation)
                    return false
                }
                if isFree { continuation.resume() }
            }
        }
    }

    /// Sends unless the mailbox is full: for what is repeated anyway.
    func trySend(_ message: Message) -> Bool {
        let (receiver, isTaken) = state.withLock { state -> (CheckedContinuation<Message?, Never>?, Bool) in
            if state.isFinished { return (nil, false) }
            if let receiver = state.receiver {
                state.receiver = nil
                return (receiver, true)
            }
            guard state.waiting.count < capacity else { return (nil, false) }
            state.waiting.append(message)
            return (nil, true)
        }
        receiver?.resume(returning: message)
        return isTaken
    }

    /// The next message; nil after `finish`.
    func receive() async -> Message? {
        if let next = takeNext(or: nil) { return next }
        return await withCheckedContinuation { continuation in
            if let next = takeNext(or: continuation) { continuation.resume(returning: next) }
        }
    }

    /// What waits, or nil in it after `finish`. Nil: nothing waits, and `receiver` is kept.
    private func takeNext(or receiver: CheckedContinuation<Message?, Never>?) -> Message?? {
        var freed: CheckedContinuation<Void, Never>?
        let next = state.withLock { state -> Message?? in
            if !state.waiting.isEmpty {
                freed = state.blocked.isEmpty ? nil : state.blocked.removeFirst()
                return .some(state.waiting.removeFirst())
            }
            if state.isFinished { return .some(nil) }
            state.receiver = receiver
            return nil
        }
        freed?.resume()
        return next
    }

    /// Wakes everybody; later sends are dropped.
    func finish() {
        let (receiver, blocked) = state.withLock { state in
            state.isFinished = true
            defer {
                state.receiver = nil
                state.blocked = []
            }
            return (state.receiver, state.blocked)
        }
        receiver?.resume(returning: nil)
        for sender in blocked { sender.resume() }
    }
}
