"""What outlives the process: the write-ahead log and the snapshots of one data directory.

Knows files, checksums, what a crash can leave behind, and when bytes are safe. Must not know what the
records say: the store's commands and Raft's entries are bytes here. Everything touches the disk through the
Disk protocol, so that a simulation can lose, tear and flip what a real disk would.
"""
