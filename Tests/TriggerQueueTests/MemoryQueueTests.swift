import OrderEngine
import Simulation
import TestKit
import Testing

struct MemoryRig: JobQueueRig {
    let clock = ManualClock()
    let server: MemoryQueueServer
    var leaseMs: Int64 { server.leaseMs }

    init() { server = MemoryQueueServer(clock: clock) }

    func queue(_ worker: String) async throws -> any JobQueue { MemoryQueue(server, worker: WorkerID(worker)) }
    func cutOff(_ worker: String) async throws { server.cutOff(WorkerID(worker)) }
    func pass(milliseconds: Int64) async throws { clock.advance(milliseconds: milliseconds) }
}

@Suite struct MemoryQueueTests {
    @Test(arguments: ContractCase.all)
    func `keeps the contract of queues`(_ contract: ContractCase) async throws {
        try await contract.check(MemoryRig())
    }
}
