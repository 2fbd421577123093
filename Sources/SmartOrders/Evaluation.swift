extension SmartOrder {
    /// Decides what `event` means for this order. Nil: nothing changes. Total over (status, event).
    ///
    /// - Throws: only for commands, when the command is not allowed now; nothing changed then.
    public func decide(_ event: OrderEvent, at moment: Moment) throws(Refusal) -> Decision? {
        nil
    }
}
