"""Records, their store, statistics over them, and the leaderboard. Depends on no other package of ours."""
