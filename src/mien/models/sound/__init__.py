"""models/sound"""
