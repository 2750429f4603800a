"""Supabase: tables over PostgREST, and agents' reputation kept in them.

The tables are made by the SQL in docs/how-to/governance-supabase.md.
"""

from ooda.services.supabase.postgrest import PostgrestClient
from ooda.services.supabase.reputation import SupabaseReputation

__all__ = ["PostgrestClient", "SupabaseReputation"]
