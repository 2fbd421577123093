extension Deciding {
    mutating func edit(_ change: OrderEdit) throws(Refusal) -> Bool { false }
}
