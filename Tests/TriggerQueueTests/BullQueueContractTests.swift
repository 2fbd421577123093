import TestKit
import Testing

extension BullQueueTests {
    @Suite struct BullQueueContractTests {
        @Test(arguments: ContractCase.all)
        func `keeps the contract of queues`(_ contract: ContractCase) async throws {
            try await BullRig.with { rig in try await contract.check(rig) }
        }
    }
}
